"""Cuts tables out of photos, with a margin, upright.

The margin is a share of the box's size: a fixed one cuts small photos too wide and large ones too
tight (Robotoff adds 10 pixels). `calibrate` measures the share that holds 95 % of tables whole.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nutrition_vl.confidence import Calibration
from nutrition_vl.data.photos import open_photo

MARGIN = Calibration().margin


def crop(photo: Image.Image, xyxy: list[float], margin: float = MARGIN) -> Image.Image:
    """The part of a photo inside a box (pixels), widened by a share of the box's size."""
    return surroundings(photo, xyxy, margin)[0]


def surroundings(
    photo: Image.Image, xyxy: Sequence[float], margin: float
) -> tuple[Image.Image, tuple[int, int]]:
    """The same part, and where its top left corner lies on the photo."""
    x0, y0, x1, y1 = xyxy
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    left, top = max(0, round(x0 - dx)), max(0, round(y0 - dy))
    right, bottom = min(photo.width, round(x1 + dx)), min(photo.height, round(y1 + dy))
    return photo.crop((left, top, max(right, left + 1), max(bottom, top + 1))), (left, top)


def crops(photo: Path, record: dict[str, Any]) -> list[Image.Image]:
    """The tables of one answer, cut from its photo; none where it has no box or an error."""
    boxes = record.get("boxes", [])
    picture = open_photo(photo) if boxes else None
    return [crop(picture, box["xyxy"]) for box in boxes] if picture else []


def margins_needed(boxes: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """The share (n,) that each box (n, 4) lacks on its worst side to hold its table (n, 4)."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    lacking = np.concatenate([boxes[:, :2] - tables[:, :2], tables[:, 2:] - boxes[:, 2:]], axis=1)
    return (lacking / size).max(axis=1, initial=0)


def turned(picture: Image.Image, quarters: int) -> Image.Image:
    """The picture turned clockwise by quarter turns."""
    return picture.rotate(-90 * quarters, expand=True)


def crop_name(stem: str, number: int) -> str:
    """The file name of the n-th table of a photo."""
    return f"{stem}_table_{number}.jpg"
