"""Places of packs on a photo: aimed at, two next to each other, or lying about."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.render.camera.noise import Noise
from training.render.camera.pool import Pool

LARGEST = 1.7  # times the photo's height; a face printed larger would be blurred as no photo is
CLOSE = 0.25  # of a face; where its table covers more, the photo may be a close-up
TILT = 0.12  # spread of the perspective
BEYOND = 0.5  # of half a table's extent, how far the middle of a cut one may be pushed outwards


@dataclass(frozen=True)
class Spot:
    """For each photo a face's turn (B, 2, 2), its point `centre` (B, 2), its scale (B) and `at`
    (B, 2), where that point lies; a photo's height runs from -1 to 1. `tilt` (B) is the spread of
    its perspective."""

    rotation: Tensor
    centre: Tensor
    scale: Tensor
    at: Tensor
    tilt: Tensor

    def otherwise(self, chosen: Tensor, other: "Spot") -> "Spot":
        """This spot where `chosen` (B), else the other."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Spot(*(torch.where(chosen.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs))

    def only(self, photos: Tensor) -> "Spot":
        """The spots of these photos."""
        return Spot(*(values[photos] for values in vars(self).values()))


def toss(noise: Noise, count: int) -> Spot:
    """For packs that lie about."""
    at, size = noise.uniform(-1, 1, count, 2), noise.uniform(0.5, 2.0, count)
    tilt = torch.full_like(size, TILT)
    return Spot(turns(noise, count), noise.normal(count, 2) * 0.3, size, at, tilt)


def aim(noise: Noise, pool: Pool, faces: Tensor, aspect: float) -> Spot:
    """For the pack that is photographed: its table covers a typical share of the photo (median a
    quarter) and lies wholly in the frame, but for one photo in seven, more often near the middle.

    A close-up fills the photo as often as not. A pack without a table covers three fifths in the
    median, and runs out of the frame as often as not.
    """
    count, plain = len(faces), pool.labels[faces, 0] < 0
    rotation, half = turns(noise, count), pool.table_half[faces]
    frame = torch.tensor([aspect, 1.0], device=half.device)
    normal = noise.normal(count)
    share = torch.exp(normal * 0.75 + math.log(0.25)).clamp(0.02, 0.9)
    close = ~plain & (half.prod(-1) > CLOSE) & (noise.uniform(0, 1, count) < 0.6)
    share = torch.where(close, noise.uniform(0.3, 0.95, count), share)
    share = torch.where(plain, torch.exp(normal * 0.7 + math.log(0.6)).clamp(0.05, 3), share)
    scale = (aspect * share / half.prod(-1)).sqrt().clamp_max(LARGEST)
    extent = extent_on_photo(rotation, scale, half)
    shrink = (0.95 * frame / extent).amin(-1).clamp_max(1)
    cut = noise.uniform(0, 1, count) < torch.where(plain, 0.5, 0.15)
    shrink = torch.where(cut, 1.0, shrink)
    room = (frame - extent * shrink[:, None]).clamp_min(0.05)
    room = torch.where((cut & ~plain)[:, None], room + BEYOND * extent, room)
    at = noise.uniform(-1, 1, count, 2) * noise.uniform(0, 1, count, 1) * room
    tilt = torch.full_like(scale, TILT)
    return Spot(rotation, pool.table_centre[faces], scale * shrink, at, tilt)


def extent_on_photo(rotation: Tensor, scale: Tensor, half: Tensor) -> Tensor:
    """Half extents (B, 2) of an upright box around an area of half extents (B, 2) on the face."""
    return torch.einsum("bij,bi->bj", rotation.abs(), half) * scale[:, None]


def pair(noise: Noise, count: int, aspect: float) -> tuple[Spot, Spot]:
    """For two packs next to or below each other, turned alike."""
    sideways = noise.uniform(0, 1, count) < 0.6
    step = torch.where(
        sideways[:, None], *torch.tensor([[aspect, 0.0], [0.0, 1.0]]).to(noise.device)
    )
    step = step / 2 * (2 * noise.choose(2, count) - 1)[:, None]
    room = torch.where(sideways, min(0.8 * aspect, 1.0), min(0.65, aspect))
    rotation, nothing = turns(noise, count), torch.zeros_like(step)
    tilt = torch.full_like(room, TILT)
    first, second = (
        Spot(rotation, nothing, room * noise.uniform(0.75, 1.25, count), at, tilt)
        for at in (step + noise.normal(count, 2) * 0.06, noise.normal(count, 2) * 0.06 - step)
    )
    return first, second


def turns(noise: Noise, count: int) -> Tensor:
    """Rotations (B, 2, 2): mostly upright, sometimes sideways or upside down, now and then
    anyhow."""
    kind = noise.uniform(0, 1, count)
    quarter = torch.zeros_like(kind)
    quarter[kind > 0.70] = math.pi / 2
    quarter[kind > 0.80] = -math.pi / 2
    quarter[kind > 0.90] = math.pi
    angle = quarter + noise.normal(count) * 0.10
    angle = torch.where(kind > 0.94, noise.uniform(-math.pi, math.pi, count), angle)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1)
