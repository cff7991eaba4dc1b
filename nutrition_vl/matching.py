"""The one definition of a right box: IoU, and COCO's greedy matching. NumPy only, labels ignored.

Every function takes one photo or, with a leading axis, many photos with equally many boxes at once,
so that 100,000 boxes take a second.
"""

from collections.abc import Sequence

import numpy as np

# COCO's ten: 0.50, 0.55 ... 0.95. https://cocodataset.org/#detection-eval
THRESHOLDS = np.linspace(0.5, 0.95, 10)
UNMATCHED = -1


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., n, 4) with boxes (..., m, 4): (..., n, m).

    0 for a box without area. As `sv.box_iou_batch`, but in float64 and for many photos at once.
    """
    a, b = np.asarray(first, float)[..., :, None, :], np.asarray(second, float)[..., None, :, :]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clip(min=0).prod(-1)
    union = _area(a) + _area(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def best_iou(overlap: np.ndarray) -> np.ndarray:
    """The greatest IoU per true box, 0 without predictions: (..., t, f) to (..., t)."""
    return overlap.max(-1, initial=0)


def is_right(overlap: np.ndarray, confidence: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """A mask (f,) of the predicted boxes of one photo that are matched to a true box.

    `overlap` is `iou(true, predicted)`, (t, f), and `confidence` is (f,). Its sum is the number of
    hits: precision is hits / f, recall hits / t, F1 2 * hits / (f + t).
    """
    return match(overlap[None], confidence[None], thresholds=[threshold])[0, :, 0] != UNMATCHED


def same_boxes(one: np.ndarray, other: np.ndarray, threshold: float = 0.5) -> bool:
    """True where both (n, 4) and (m, 4) have as many boxes, each on one of the other's."""
    if len(one) != len(other) or not len(one):
        return len(one) == len(other)
    overlap = iou(one, other)
    return bool((overlap.max(0) >= threshold).all() and (overlap.max(1) >= threshold).all())


def match(
    overlap: np.ndarray,
    confidence: np.ndarray,
    counted: np.ndarray | None = None,
    thresholds: Sequence[float] | np.ndarray = THRESHOLDS,
) -> np.ndarray:
    """Greedy one-to-one matching: overlaps (n, t, f) to places of true boxes (n, f, thresholds).

    Predicted boxes choose in order of confidence (equal ones in their own order), each the free
    true box with the greatest IoU, if that reaches the threshold; true boxes that are `counted`
    (n, t) go before the others. UNMATCHED where no true box is left.
    """
    limits = np.asarray(thresholds)[:, None]
    matches = np.full((*confidence.shape, len(limits)), UNMATCHED)
    if not overlap.size:
        return matches
    free = np.ones((len(overlap), len(limits), overlap.shape[1]), dtype=bool)
    rows, first = np.arange(len(overlap)), np.zeros(overlap.shape[:2])
    if counted is not None:
        first += counted
    for box in np.argsort(-confidence, axis=1, kind="stable").T:
        fit = overlap[rows, :, box]
        candidates = free & (fit[:, None] >= limits)
        chosen = np.where(candidates, (fit + first)[:, None], UNMATCHED).argmax(-1)
        photo, column = np.nonzero(candidates.any(-1))
        taken = chosen[photo, column]
        matches[photo, box[photo], column] = taken
        free[photo, column, taken] = False
    return matches


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1)
