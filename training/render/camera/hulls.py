"""Boxes round masks: the truth of every rendered picture."""

import torch
from torch import Tensor


def hulls(masks: Tensor) -> Tensor:
    """Hulls (..., 4) x0, y0, x1, y1 in 0-1 of masks (..., height, width); zeros for empty ones."""
    x0, x1 = _span(masks.any(-2))
    y0, y1 = _span(masks.any(-1))
    return torch.stack([x0, y0, x1, y1], -1)


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last occupied place along the last axis, in 0-1."""
    length, empty = occupied.shape[-1], ~occupied.any(-1)
    first = occupied.int().argmax(-1) / length
    last = 1 - occupied.flip(-1).int().argmax(-1) / length
    return first.masked_fill(empty, 0), last.masked_fill(empty, 0)
