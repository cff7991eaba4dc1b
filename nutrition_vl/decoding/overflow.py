"""Where a model's numbers left the range of their type: the layer to suspect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def watch(model: nn.Module) -> Iterator[list[str]]:
    """A list that gets the type and the name of each layer with an output that is not finite, in
    the order in which they run; the first is the one to suspect."""
    found: list[str] = []
    leaves = [(name, layer) for name, layer in model.named_modules() if not any(layer.children())]
    hooks = [layer.register_forward_hook(_noting(name, found)) for name, layer in leaves]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _noting(name: str, found: list[str]) -> Callable[..., None]:
    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and not output.isfinite().all():
            found.append(f"{type(layer).__name__} {name}")

    return note
