"""Which weights leave the GPU in training, each still usable from there: for detection, say."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLForConditionalGeneration

from training.loss import project


def park_tower(model: Qwen2VLForConditionalGeneration, device: torch.device) -> Callable[[], None]:
    """Keeps the vision tower on the CPU but while it looks at photos; returns what undoes it."""
    tower = model.model.visual
    hooks = [
        tower.register_forward_pre_hook(lambda module, _: module.to(device) and None),
        tower.register_forward_hook(lambda module, *_: module.to("cpu") and None),
    ]
    tower.to("cpu")

    def undo() -> None:
        for hook in hooks:
            hook.remove()
        tower.to(device)

    return undo


def park_words(
    model: Qwen2VLForConditionalGeneration, device: torch.device, words: Tensor
) -> Callable[[], None]:
    """Looks words up on the CPU, in `words`, the embedding matrix there; returns what undoes it."""
    module = model.get_input_embeddings()
    module.weight.data = words
    module.forward = lambda ids: functional.embedding(ids.cpu(), module.weight).to(ids.device)
    return lambda: _bring_back(module, device)


def park_head(model: Qwen2VLForConditionalGeneration, device: torch.device) -> Callable[[], None]:
    """Brings the output matrix to the GPU in slices, when it is used; returns what undoes it."""
    module = model.get_output_embeddings()
    weight = module.weight.data.cpu()
    module.weight.data = weight.pin_memory() if device.type == "cuda" else weight
    module.forward = lambda states: project(states, module.weight)
    return lambda: _bring_back(module, device)


def _bring_back(module: nn.Module, device: torch.device) -> None:
    vars(module).pop("forward", None)
    module.to(device)
