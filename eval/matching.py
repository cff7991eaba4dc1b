"""Which found box is which true one: overlaps of a photo's boxes, and who is matched with whom."""

from dataclasses import dataclass

import numpy as np
import supervision as sv

from eval.answers import Answers

# COCO's ten: 0.50, 0.55 ... 0.95. https://cocodataset.org/#detection-eval
THRESHOLDS = np.linspace(0.5, 0.95, 10)
NOTHING = -1


@dataclass(frozen=True)
class Pairing:
    """One photo: IoU (true, found), confidence (found,), the true box matched to each found one
    at each of THRESHOLDS (found, 10), NOTHING where there is none, and how many are (10,)."""

    iou: np.ndarray
    confidence: np.ndarray
    matches: np.ndarray
    hits: np.ndarray


def pair(answers: Answers) -> list[Pairing]:
    """The pairing of every photo, labels disregarded."""
    assert answers.found.confidence is not None
    truths = _per_photo(answers.truth, answers.truth.xyxy, len(answers.ids))
    found = _per_photo(answers.found, answers.found.xyxy, len(answers.ids))
    confidences = _per_photo(answers.found, answers.found.confidence, len(answers.ids))
    return [_paired(*photo) for photo in zip(truths, found, confidences, strict=True)]


def iou(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) with boxes (m, 4): (n, m); 0 for one without area.

    Equal to `sv.box_iou_batch` in float64, at a third of its time for the one or two boxes a photo.
    """
    first, second = truth[:, None].astype(float), found[None].astype(float)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clip(min=0).prod(-1)
    union = _area(first) + _area(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match(overlap: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Greedy one-to-one matching, as COCO's: (found, thresholds) indices of true boxes.

    Found boxes choose in order of confidence (equal ones in their own order), each the free true
    box it overlaps most, if by the threshold at least.
    """
    matches = np.full((len(confidence), len(THRESHOLDS)), NOTHING)
    if not overlap.size:
        return matches
    free = np.ones((len(THRESHOLDS), len(overlap)), dtype=bool)
    rows = np.arange(len(THRESHOLDS))
    for box in np.argsort(-confidence, kind="stable"):
        candidates = np.where(free, overlap[:, box], -1.0)
        best = candidates.argmax(1)
        enough = candidates[rows, best] >= THRESHOLDS
        matches[box, enough] = best[enough]
        free[rows[enough], best[enough]] = False
    return matches


def column_of(threshold: float) -> int:
    """The column of one of THRESHOLDS."""
    return int(np.abs(THRESHOLDS - threshold).argmin())


def _paired(truth: np.ndarray, found: np.ndarray, confidence: np.ndarray) -> Pairing:
    overlap = iou(truth, found)
    matches = match(overlap, confidence)
    return Pairing(overlap, confidence, matches, (matches != NOTHING).sum(0))


def _per_photo(boxes: sv.Detections, values: np.ndarray, photos: int) -> list[np.ndarray]:
    """Cuts an array over all boxes into one for each photo."""
    return np.split(values, np.searchsorted(boxes.data["photo"], np.arange(1, photos)))


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1)
