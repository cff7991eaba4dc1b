"""What the vision tower makes of one photo."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers.activations import QuickGELUActivation

from nutrition_vl.decoding.cpu_matmul import multiplying


def see(tower: Any, pixels: Tensor, places: Tensor, grid: Tensor) -> Tensor:
    """The photo's image tokens (tokens, width) of its patches (patches, values), their places in it
    (patches, 2) and its grid of them (1, 3).

    One photo by itself, exact as if alone; nothing here waits for a GPU, so it can be captured, and
    on a CPU nothing has a gradient.
    """
    whole = torch.tensor([0, len(pixels)])  # on the CPU, where the tower reads its ends
    faster = _flat(tower) | (_in_place(tower) if pixels.is_cpu else {})
    with _instead(faster), multiplying(pixels.device):
        seen = tower(pixels, grid_thw=grid, position_ids=places, cu_seqlens=whole)
    return seen.pooler_output


def _flat(tower: Any) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Embeds patches by a product of matrices, which a convolution that takes each patch as a whole
    is: in a third of the time on a CPU, and on GPUs see transformers#45750."""
    embed = tower.patch_embed
    if type(embed.proj) is not nn.Conv3d:  # an adapter is on it
        return {}
    weight = embed.proj.weight.flatten(1)
    return {embed: lambda patches: linear(patches.to(weight.dtype), weight)}


def _in_place(tower: Any) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Activations x * sigmoid(1.702 x) that write over x, which nothing else needs: three new
    tensors of 5 MB in each of the demo's 8 blocks took up to a third of its time on a CPU."""
    activations = [block.mlp.act for block in tower.blocks]
    return {
        activation: lambda x: silu(x.mul_(1.702), inplace=True).div_(1.702)
        for activation in activations
        if type(activation) is QuickGELUActivation
    }


@contextmanager
def _instead(forwards: Mapping[nn.Module, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """These run instead of the modules' own."""
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            del module.forward  # the class's own is back
