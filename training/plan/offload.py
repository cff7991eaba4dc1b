"""Moves weights to the CPU while a model trains, and back to where they were loaded."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from nutrition_vl.models.family import Model


@contextmanager
def vision_tower(model: Model, device: torch.device) -> Iterator[None]:
    """Keeps the vision tower on the CPU; for runs whose photos went through it before."""
    model.model.visual.to("cpu")
    yield
    model.model.visual.to(device)


@contextmanager
def embeddings(model: Model, matrix: Tensor) -> Iterator[None]:
    """Looks embeddings up on the CPU, in `matrix`, which is a copy of the model's own."""
    module = model.get_input_embeddings()
    loaded_on, module.weight.data = module.weight.device, matrix
    module.forward = lambda ids: functional.embedding(ids.cpu(), module.weight).to(ids.device)
    yield
    del module.forward
    module.weight.data = matrix.to(loaded_on)


@contextmanager
def lm_head(model: Model, device: torch.device) -> Iterator[None]:
    """Keeps the output matrix on the CPU; `answer_loss.pieces` copies slices of it to the GPU."""
    module: nn.Module = model.get_output_embeddings()
    loaded_on, matrix = module.weight.device, module.weight.data.cpu()
    # From pinned memory slices are copied while the GPU computes.
    module.weight.data = matrix.pin_memory() if device.type == "cuda" else matrix
    yield
    module.weight.data = module.weight.data.to(loaded_on)
