"""Pairs the true and the predicted boxes of a split: overlaps and matches per photo.

Photos with equally many boxes are computed together, so that 100,000 boxes take a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import supervision as sv

from eval.predictions.predictions import Answers
from nutrition_vl.matching import THRESHOLDS, UNMATCHED, best_iou, iou, match


@dataclass(frozen=True)
class Photos:
    """n photos of t true and f predicted boxes each.

    `indices` (n,) are those of the photos in `Answers`, `true` (n, t) and `predicted` (n, f) those
    of their boxes. `iou` is (n, t, f), `confidence` (n, f). `matches` (n, f, 10) is, per predicted
    box and threshold, the place of its true box (from 0 to t), or UNMATCHED.
    """

    indices: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    iou: np.ndarray
    confidence: np.ndarray
    matches: np.ndarray

    def hits(self, threshold: float) -> np.ndarray:
        """The number of matches per photo at one of THRESHOLDS, (n,)."""
        return (self.matches[..., column_of(threshold)] != UNMATCHED).sum(1)

    def best_iou(self) -> np.ndarray:
        """The greatest IoU per true box (n, t), 0 without predictions."""
        return best_iou(self.iou)


@dataclass(frozen=True)
class Pairing:
    """All photos of a split, in groups of equally many boxes.

    Each method computes `value` per group and returns one array in the order of `Answers`.
    """

    groups: list[Photos]

    def per_photo(self, value: Callable[[Photos], np.ndarray | float]) -> np.ndarray:
        """A value per photo, from (n,) or one number per group."""
        places = [group.indices for group in self.groups]
        values = [np.broadcast_to(value(group), len(group.indices)) for group in self.groups]
        return _in_order(places, values)

    def per_true(self, value: Callable[[Photos], np.ndarray]) -> np.ndarray:
        """A value per true box, from (n, t, ...)."""
        return _in_order([group.true for group in self.groups], [*map(value, self.groups)])

    def per_predicted(self, value: Callable[[Photos], np.ndarray]) -> np.ndarray:
        """A value per predicted box, from (n, f, ...)."""
        return _in_order([group.predicted for group in self.groups], [*map(value, self.groups)])

    def matched(self, threshold: float) -> np.ndarray:
        """Per predicted box the index in `Answers.truth` of its match, or UNMATCHED."""
        return self.per_predicted(lambda photos: _index_of_match(photos, column_of(threshold)))


def pair(answers: Answers) -> Pairing:
    """The pairing of all photos, labels ignored."""
    first_true, true = _runs(answers.truth, len(answers.ids))
    first_predicted, predicted = _runs(answers.predictions, len(answers.ids))
    _, kind = np.unique(np.stack([true, predicted], 1), axis=0, return_inverse=True)
    groups = []
    for photos in np.split(np.argsort(kind, kind="stable"), np.cumsum(np.bincount(kind))[:-1]):
        rows = first_true[photos, None] + np.arange(true[photos[0]])
        columns = first_predicted[photos, None] + np.arange(predicted[photos[0]])
        overlap = iou(answers.truth.xyxy[rows], answers.predictions.xyxy[columns])
        confidence = np.asarray(answers.predictions.confidence)[columns]
        matches = match(overlap, confidence)
        groups.append(Photos(photos, rows, columns, overlap, confidence, matches))
    return Pairing(groups)


def column_of(threshold: float) -> int:
    """The column of one of THRESHOLDS."""
    return int(np.abs(THRESHOLDS - threshold).argmin())


def _runs(boxes: sv.Detections, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """The index of each photo's first box, and the number of its boxes."""
    counts = np.bincount(boxes.data["photo"], minlength=photos)
    return np.cumsum(counts) - counts, counts


def _index_of_match(photos: Photos, column: int) -> np.ndarray:
    chosen = photos.matches[..., column]
    if not photos.true.size:
        return chosen
    return np.where(chosen == UNMATCHED, UNMATCHED, np.take_along_axis(photos.true, chosen, 1))


def _in_order(places: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> np.ndarray:
    """The values (n, k, ...) of all places (n, k), the value of place 0 first."""
    pairs = list(zip(places, values, strict=True))
    rows = [value.reshape(place.size, *value.shape[place.ndim :]) for place, value in pairs]
    return np.concatenate(rows)[np.argsort(np.concatenate([place.ravel() for place in places]))]
