"""What the vision tower makes of one photo."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from nutrition_vl.decoding.products import multiplying


def see(tower: Any, pixels: Tensor, places: Tensor, grid: Tensor) -> Tensor:
    """The photo's image tokens (tokens, width) of its patches (patches, values), their places in it
    (patches, 2) and its grid of them (1, 3).

    One photo by itself, exact as if alone; nothing here waits for a GPU, so it can be captured.
    """
    whole = torch.tensor([0, len(pixels)])  # on the CPU, where the tower reads its ends
    with _flat(tower.patch_embed), multiplying(pixels.device):
        seen = tower(pixels, grid_thw=grid, position_ids=places, cu_seqlens=whole)
    return seen.pooler_output


@contextmanager
def _flat(embed: Any) -> Iterator[None]:
    """Embeds patches by a product of matrices, which a convolution that takes each patch as a whole
    is: in a third of the time on a CPU, and on GPUs see transformers#45750."""
    if type(embed.proj) is not nn.Conv3d:  # an adapter is on it
        yield
        return
    weight = embed.proj.weight.flatten(1)
    embed.forward = lambda patches: linear(patches.to(weight.dtype), weight)
    try:
        yield
    finally:
        del embed.forward  # the class's own is back
