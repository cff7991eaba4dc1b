"""Crops of photos, as a second look takes them: around a table, or around a place without one.

They are photographed closer and not cut out, so they are as sharp as their faces and cost nothing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nutrition_vl.looks.second_look import MARGIN
from training.render.camera.noise import Noise
from training.render.camera.spots import Spot, extent_on_photo

APART = 1.2  # times a table's extent, where crops next to it begin: packs are bent
NEXT = 0.3  # of the crops on photos with a table, how many lie next to it
SIZE = (0.25, 0.8)  # of the photo's height, away from tables
NEAREST = 4.0  # times the crop's height at most; a face printed larger would be a blur


@dataclass(frozen=True)
class Crop:
    """For each photo the crop's `middle` (B, 2) and `half` its height (B), where the photo's own
    height runs from -1 to 1; `table` (B) is true for crops around a table."""

    middle: Tensor
    half: Tensor
    table: Tensor

    def of(self, spot: Spot) -> Spot:
        """The spot as it lies on the crop."""
        at = (spot.at - self.middle) / self.half[:, None]
        scale, tilt = spot.scale / self.half, spot.tilt * self.half
        return Spot(spot.rotation, spot.centre, scale, at, tilt)


def crop(noise: Noise, spot: Spot, half: Tensor, table: Tensor, aspect: float) -> Crop:
    """Draws crops of photos with this aspect, on which a face lies at the spot.

    `table` (B): does the face have one, whose half extents are `half` (B, 2)? Then most crops are
    around it and the others begin behind its end; crops without it are anywhere on the photo. All
    have the photo's aspect: one side has the margin of a second look, the other a wider one.
    """
    count, frame = len(half), torch.tensor([aspect, 1.0], device=half.device)
    extent = extent_on_photo(spot.rotation, spot.scale, half)
    near = table & (noise.uniform(0, 1, count) >= NEXT)
    jitter = torch.exp(noise.normal(count) * 0.15)
    around = (1 + 2 * MARGIN) * jitter * (extent / frame).amax(-1)
    away = torch.exp(noise.uniform(math.log(SIZE[0]), math.log(SIZE[1]), count))
    size = torch.where(near, around, away).maximum(spot.scale / NEAREST).clamp_max(1)
    room = (1 - size)[:, None] * frame
    centred = (spot.at + noise.normal(count, 2) * 0.15 * extent).clamp(-room, room)
    outside = spot.at + _outside(noise, extent, size[:, None] * frame)
    anywhere = room * noise.uniform(-1, 1, count, 2)
    middle = torch.where(table[:, None], outside, anywhere)
    return Crop(torch.where(near[:, None], centred, middle), size, near)


def _outside(noise: Noise, extent: Tensor, half: Tensor) -> Tensor:
    """Steps (B, 2) from a table's centre to that of a crop off one of its four sides."""
    count = len(extent)
    sign = 2.0 * noise.choose(2, count)[:, None] - 1
    axis = noise.choose(2, count)[:, None] == torch.arange(2, device=extent.device)
    return torch.where(
        axis, sign * (APART * extent + half), extent * noise.uniform(-1, 1, count, 2)
    )
