"""Which weights leave the GPU while a model trains: each function moves some and returns what
puts them back to where they were loaded."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLForConditionalGeneration


def park_tower(model: Qwen2VLForConditionalGeneration, device: torch.device) -> Callable[[], None]:
    """The vision tower, where nobody looks at photos any more."""
    tower = model.model.visual
    tower.to("cpu")
    return lambda: tower.to(device) and None


def park_words(model: Qwen2VLForConditionalGeneration, words: Tensor) -> Callable[[], None]:
    """The embeddings of words, which are then looked up in `words`, the same matrix on the CPU."""
    module = model.get_input_embeddings()
    came = module.weight.device
    module.weight.data = words
    module.forward = lambda ids: functional.embedding(ids.cpu(), module.weight).to(ids.device)

    def undo() -> None:
        vars(module).pop("forward")
        _bring_back(module, came)

    return undo


def park_head(model: Qwen2VLForConditionalGeneration, device: torch.device) -> Callable[[], None]:
    """The output matrix, which `loss.pieces` brings in slices when it is multiplied with."""
    module = model.get_output_embeddings()
    came = module.weight.device
    weight = module.weight.data.cpu()
    # From pinned memory slices are copied while the GPU computes.
    module.weight.data = weight.pin_memory() if device.type == "cuda" else weight
    return lambda: _bring_back(module, came)


def _bring_back(module: nn.Module, device: torch.device) -> None:
    module.weight.data = module.weight.data.to(device)
