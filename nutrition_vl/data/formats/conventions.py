"""Decides the unit of the numbers in a file's answers: grid steps, pixels or shares of the sides.

Box tokens count 0 to 1000, `bbox_2d` counts pixels of the photo (Qwen2.5-VL) or 0 to 1000
(Qwen3-VL), and any notation may hold shares from 0 to 1. A file keeps to one convention per
notation: its numbers prove or refute one, and where they leave it open, the file is refused.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from nutrition_vl.boxes import GRID
from nutrition_vl.data.formats.answer_boxes import AnswerBox, Notation

Scale = Literal["grid", "pixels", "shares"]

FEW = 0.05  # of the rows may break their file's convention; they are refused one by one
SLACK = 1.02  # boxes may reach out of their photo by 2 %, by rounding or padding
# Chance that all boxes by accident stay inside another convention's range. Box tokens have one
# meaning and need strong evidence against it; bbox_2d has two.
UNLIKELY = {"points": 1e-6, "bbox_2d": 1e-3}
CORNER, CORNER_ROWS = 0.5, 5  # this many photos have a box beyond the half, if these are pixels
WORDS = {
    "grid": f"steps from 0 to {GRID}",
    "pixels": "pixels of the photo as it is, not of a resized one",
    "shares": "shares of the sides from 0 to 1",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnsweredPhoto:
    """Boxes of one notation in one photo, and the width and height that their pixels belong to."""

    boxes: list[AnswerBox]
    size: tuple[int, int]
    size_is_stated: bool = False

    @property
    def notation(self) -> Notation:
        """The notation of all boxes."""
        return self.boxes[0].notation

    @property
    def largest(self) -> float:
        """The largest number of any box."""
        return max(max(box.numbers) for box in self.boxes)

    @property
    def reach(self) -> float:
        """The farthest right or lower edge as a share of its side, if the numbers are pixels."""
        width, height = self.size
        return max(max(box.numbers[2] / width, box.numbers[3] / height) for box in self.boxes)


def choose_scale(photos: Sequence[AnsweredPhoto], file: Path) -> Scale:
    """The scale of one notation in a file; ValueError where its numbers leave it open."""
    notation = photos[0].notation
    scale = _choose(photos, notation)
    if scale is None:
        raise ValueError(
            f"{file}: the numbers of its {notation} may be {WORDS['grid']} or pixels, perhaps of a"
            f" resized photo: write {WORDS['grid']} in box tokens, or state resized_width and"
            " resized_height in the image part"
        )
    if (notation, scale) != ("points", "grid"):
        logger.warning("%s: reading its %s as %s", file, notation, WORDS[scale])
    return scale


def _choose(photos: Sequence[AnsweredPhoto], notation: Notation) -> Scale | None:
    few = FEW * len(photos)
    if sum(photo.largest <= 1 for photo in photos) > len(photos) / 2:
        return "shares"
    if notation == "lists":
        return None
    beyond_grid = sum(photo.largest > GRID for photo in photos)
    outside = sum(photo.reach > SLACK for photo in photos)
    if notation == "points":
        if beyond_grid > few:
            return None if outside else "pixels"
        chance = prod(min(1, side / GRID) for photo in photos for side in photo.size)
        return None if not outside and chance < UNLIKELY[notation] else "grid"
    if all(photo.size_is_stated for photo in photos):
        return "pixels" if outside <= few else None
    if outside > few:
        return "grid" if beyond_grid <= few else None
    chance = prod(min(1, GRID / side) for photo in photos for side in photo.size)
    in_corner = max(photo.reach for photo in photos) <= CORNER and len(photos) >= CORNER_ROWS
    return None if in_corner or (not beyond_grid and chance < UNLIKELY[notation]) else "pixels"


def to_shares(photo: AnsweredPhoto, scale: Scale) -> list[list[float]]:
    """Boxes in shares of the sides; ValueError for numbers that break the file's convention."""
    width, height = photo.size
    units = {"grid": (GRID, GRID), "pixels": (width, height), "shares": (1, 1)}[scale]
    limit = {"grid": 1, "pixels": SLACK, "shares": SLACK}[scale]
    boxes = [[n / unit for n, unit in zip(b.numbers, units * 2, strict=True)] for b in photo.boxes]
    for box, written in zip(boxes, photo.boxes, strict=True):
        shares_elsewhere = scale != "shares" and max(written.numbers) <= 1
        if shares_elsewhere or max(box) > limit or min(box) < 1 - SLACK:
            raise ValueError(f"the box {list(written.numbers)} is not in {WORDS[scale]}")
    return boxes
