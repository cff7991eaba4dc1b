"""Places boxes on the upright photo when they were drawn on a photo of another size or turn."""

import numpy as np

from nutrition_vl.data.photos import Frame
from nutrition_vl.data.rows import Sample

ASPECT = 0.01  # relative difference of aspect ratios that rounding and odd exports explain
INSIDE = 0.5  # of a box's area: less inside the photo means that it belongs to another one


def upright(sample: Sample, frame: Frame) -> np.ndarray:
    """The corners (n, 2, 2) of a sample's boxes in pixels of the upright photo, clipped to it.

    Raises ValueError for boxes of another photo, and for a box that is no box.
    """
    corners = np.sort(placed(sample, frame), axis=1)
    clipped = corners.clip(0, frame.size)
    _require_boxes(sample, corners, clipped, frame)
    return clipped


def placed(sample: Sample, frame: Frame) -> np.ndarray:
    """The corners (n, 2, 2) of a sample's boxes in pixels of the upright photo, as they are.

    Raises ValueError for boxes that were drawn on another photo.
    """
    corners = np.array(sample.xyxy, dtype=float).reshape(-1, 2, 2)
    stored, size = sample.stored_size, frame.size
    if sample.normalized:
        return corners * size
    if stored is None or stored == size:
        return corners
    turned = frame.sideways and _same_aspect(stored, frame.raw)
    if _same_aspect(stored, size) and not turned:
        return corners * (np.array(size) / stored)
    if not turned or (_same_aspect(stored, size) and stored != frame.raw):
        raise ValueError(
            f"{_where(sample)}: its boxes are drawn on {_by(stored)}, and the photo is {_by(size)}:"
            " put the photo there that was labelled, or correct its size in the file"
        )
    if sample.unturned_size:
        raise ValueError(
            f"{_where(sample)}: the file says {_by(stored)}, and the upright photo is {_by(size)}: "
            "are its boxes drawn on the upright photo? Then write that size into the file, else "
            "remove the orientation tag from the photo"
        )
    return turn(corners * (np.array(frame.raw) / stored), frame)


def turned(sample: Sample, frame: Frame) -> bool | None:
    """True for boxes drawn before EXIF turning, False after, None where the sizes cannot tell."""
    if sample.normalized or frame.orientation == 1 or sample.stored_size is None:
        return False
    if _same_aspect(frame.raw, frame.size):
        return None
    return _same_aspect(sample.stored_size, frame.raw)


def turn(corners: np.ndarray, frame: Frame) -> np.ndarray:
    """Corners (n, 2, 2) in pixels of the photo as stored, in pixels of the upright photo."""
    x, y = corners[..., 0], corners[..., 1]
    width, height = frame.raw
    upright = {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }
    return np.stack(upright[frame.orientation], axis=-1)


def _same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    across, down = one[0] / other[0], one[1] / other[1]
    slack = max(1 / min(one), 1 / min(other))  # a side may be rounded by a pixel
    return abs(across / down - 1) <= max(ASPECT, slack)


def _require_boxes(sample: Sample, corners: np.ndarray, clipped: np.ndarray, frame: Frame) -> None:
    sides = (boxes[:, 1] - boxes[:, 0] for boxes in (corners, clipped))
    area, inside = (side[:, 0] * side[:, 1] for side in sides)
    empty = ~(inside > 0) | ~np.isfinite(area)
    outside = inside < INSIDE * area if not sample.normalized else np.zeros_like(empty)
    for bad, problem in ((empty, "has no area in"), (outside, "lies outside")):
        if bad.any():
            box = ", ".join(f"{number:g}" for number in sample.xyxy[int(np.argmax(bad))])
            raise ValueError(
                f"{_where(sample)}: box [{box}] {problem} the photo of {_by(frame.size)}"
            )


def _where(sample: Sample) -> str:
    return f"{sample.file}, {sample.id}" if sample.file else sample.id


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
