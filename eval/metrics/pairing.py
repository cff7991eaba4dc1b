"""Which found box is which true one: overlaps of a photo's boxes, and who is matched with whom.

Photos with equally many boxes are worked on together, so that 100,000 take a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import supervision as sv

from eval.predictions.predictions import Answers
from nutrition_vl.matching import THRESHOLDS, UNMATCHED, best_iou, iou, match


@dataclass(frozen=True)
class Photos:
    """n photos of t true and f found boxes each: their indices (n,) in `Answers` and those of their
    boxes (n, t) and (n, f), IoU (n, t, f), confidence (n, f), and the true box of the photo (from 0
    to t) matched to each found one at each of THRESHOLDS (n, f, 10), UNMATCHED where none is."""

    indices: np.ndarray
    true: np.ndarray
    found: np.ndarray
    iou: np.ndarray
    confidence: np.ndarray
    matches: np.ndarray

    def hits(self, threshold: float) -> np.ndarray:
        """How many boxes of each photo are matched at one of THRESHOLDS, (n,)."""
        return (self.matches[..., column_of(threshold)] != UNMATCHED).sum(1)

    def best_iou(self) -> np.ndarray:
        """The greatest IoU of a found box per true box (n, t), 0 where none was found."""
        return best_iou(self.iou)


@dataclass(frozen=True)
class Pairing:
    """All photos of a split, in groups; what is asked of the groups comes back in one array."""

    groups: list[Photos]

    def per_photo(self, ask: Callable[[Photos], np.ndarray | float]) -> np.ndarray:
        """A value for each photo, in their order in `Answers`; one number serves a whole group."""
        places = [group.indices for group in self.groups]
        values = [np.broadcast_to(ask(group), len(group.indices)) for group in self.groups]
        return _in_order(places, values)

    def per_true(self, ask: Callable[[Photos], np.ndarray]) -> np.ndarray:
        """A value for each true box from (n, t, ...), in the order of `Answers.truth`."""
        return _in_order([group.true for group in self.groups], [*map(ask, self.groups)])

    def per_found(self, ask: Callable[[Photos], np.ndarray]) -> np.ndarray:
        """A value for each found box from (n, f, ...), in the order of `Answers.predictions`."""
        return _in_order([group.found for group in self.groups], [*map(ask, self.groups)])

    def matched(self, threshold: float) -> np.ndarray:
        """Per found box the index in `Answers.truth` of its match, or UNMATCHED."""
        return self.per_found(lambda photos: _index_of_match(photos, column_of(threshold)))


def pair(answers: Answers) -> Pairing:
    """The pairing of all photos, labels disregarded."""
    first_true, true = _runs(answers.truth, len(answers.ids))
    first_found, found = _runs(answers.predictions, len(answers.ids))
    _, kind = np.unique(np.stack([true, found], 1), axis=0, return_inverse=True)
    alike = np.split(np.argsort(kind, kind="stable"), np.cumsum(np.bincount(kind))[:-1])
    return Pairing(
        [
            _paired(
                answers,
                photos,
                first_true[photos, None] + np.arange(true[photos[0]]),
                first_found[photos, None] + np.arange(found[photos[0]]),
            )
            for photos in alike
        ]
    )


def column_of(threshold: float) -> int:
    """The column of one of THRESHOLDS."""
    return int(np.abs(THRESHOLDS - threshold).argmin())


def _paired(answers: Answers, photos: np.ndarray, true: np.ndarray, found: np.ndarray) -> Photos:
    assert answers.predictions.confidence is not None
    overlap = iou(answers.truth.xyxy[true], answers.predictions.xyxy[found])
    confidence = answers.predictions.confidence[found]
    return Photos(photos, true, found, overlap, confidence, match(overlap, confidence))


def _runs(boxes: sv.Detections, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each photo's boxes begin, and how many they are."""
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
