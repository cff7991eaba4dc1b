"""A second look: boxes in doubt are detected again on an enlarged crop of their surroundings.

On photos unlike any it was trained on, one look finds tables that are none. On the crop most of
these are not found again, and a true table gets sharper edges, since it fills more of the picture:
with the embedded base 1 of 258 held-back photos without a table is boxed instead of 4, and mean
IoU on 17 European photos is 0.717 instead of 0.665 (docs/log.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import supervision as sv
from PIL import Image

from nutrition_vl.answer import Answer, Detection
from nutrition_vl.looks.crops import surroundings

MARGIN = 0.25  # of a box's sides, on each side: the crop is 1.5 times as wide and high
AGREE = 0.5  # IoU of the box and its successor
DOUBT = 0.75  # boxes of a lower confidence are dropped if the crop does not confirm them
CERTAIN = 0.995  # boxes of at least this confidence are kept as they are

Look = Callable[[Sequence[Image.Image]], Sequence[Detection]]


def confirm(detections: Sequence[Detection], look: Look, threshold: float = 0.0) -> list[Detection]:
    """The detections with the edges that boxes have on their crop; those in DOUBT need such a one.

    `look` detects on crops. Boxes below `threshold` and CERTAIN ones are left as they are.
    """
    detections, doubts, crops = list(detections), [], []
    for n, one in enumerate(detections):
        rows = _doubts(one, threshold)
        try:
            crops += _crops(one, rows) if rows else []
        except (ValueError, OSError) as error:  # its file went away, or changed
            detections[n], rows = Detection(None, error=error), []
        doubts.append(rows)
    again = iter(look([picture for picture, _ in crops]) if crops else [])
    corners = iter(corner for _, corner in crops)
    return [
        _confirmed(one, {i: (next(again), next(corners)) for i in rows})
        for one, rows in zip(detections, doubts, strict=True)
    ]


def _doubts(detection: Detection, threshold: float) -> list[int]:
    """The boxes of a photo that get a second look."""
    if detection.answer is None:
        return []
    confidence = detection.answer.detections.confidence
    assert confidence is not None
    return np.flatnonzero((confidence >= threshold) & (confidence < CERTAIN)).tolist()


def _crops(detection: Detection, rows: Sequence[int]) -> list[tuple[Image.Image, tuple[int, int]]]:
    """A crop around each of these boxes, and its corner."""
    photo, answer = detection.picture, detection.answer
    assert photo and answer
    return [surroundings(photo, answer.detections.xyxy[i], MARGIN) for i in rows]


def _confirmed(
    detection: Detection, again: dict[int, tuple[Detection, tuple[int, int]]]
) -> Detection:
    """The detection after the second look at some of its boxes."""
    if not again or detection.answer is None:
        return detection
    boxes, seconds = detection.answer.detections, detection.answer.seconds
    assert boxes.confidence is not None
    keep = np.ones(len(boxes), dtype=bool)
    for i, (second, corner) in again.items():
        seconds += second.answer.seconds if second.answer else 0.0
        edges = _edges_again(boxes.xyxy[i], second.answer, corner)
        keep[i] = edges is not None or boxes.confidence[i] >= DOUBT
        boxes.xyxy[i] = boxes.xyxy[i] if edges is None else edges
    kept = boxes[keep]
    assert isinstance(kept, sv.Detections)
    return replace(detection, answer=replace(detection.answer, detections=kept, seconds=seconds))


def _edges_again(
    box: np.ndarray, answer: Answer | None, corner: tuple[int, int]
) -> np.ndarray | None:
    """The box (4,) on the crop that matches best, in the photo's pixels; None where none does."""
    if answer is None or not len(answer.detections):
        return None
    moved = answer.detections.xyxy + np.array([*corner, *corner])
    overlap = sv.box_iou_batch(box[None], moved)[0]
    best = int(overlap.argmax())
    return moved[best] if overlap[best] >= AGREE else None
