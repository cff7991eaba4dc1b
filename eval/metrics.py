"""The numbers, each defined once: a share of two sums over photos, so that all resample alike.

A measure takes a photo's pairing and returns what the photo adds to the sum above and the sum below
the line; 0 / 0 counts as 0. Labels are disregarded: a table found under another label is found.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from eval.answers import Answers
from eval.matching import Pairing, column_of, pair

Share = tuple[float, float]


def mean_iou(photo: Pairing) -> Share:
    """Over all true boxes, the IoU of the found box that fits each best, 0 if there is none.

    The headline, as the original notebook's `mean_gt_iou`: one found box may serve two true ones.
    """
    return best(photo.iou).sum(), len(photo.iou)


def mean_iou_one_to_one(photo: Pairing) -> Share:
    """Over all true boxes, the IoU of the found box assigned to each, 0 for those left over.

    The assignment with the greatest sum (Hungarian method, `scipy.optimize.linear_sum_assignment`).
    """
    if not photo.iou.size:
        return 0.0, len(photo.iou)
    return photo.iou[linear_sum_assignment(photo.iou, maximize=True)].sum(), len(photo.iou)


def mean_iou_symmetric(photo: Pairing) -> Share:
    """Over photos with a table, half the mean best IoU of its true boxes and half of its found.

    As one of the reimplementations of the original reports it: superfluous boxes cost something,
    and a photo with three tables counts as much as one with a single table.
    """
    if not len(photo.iou):
        return 0.0, 0
    both = best(photo.iou).mean() + best(photo.iou.T).mean() if photo.iou.size else 0.0
    return both / 2, 1


def mean_iou_first_box(photo: Pairing) -> Share:
    """Over photos with a table, the IoU of the first true and the first found box, others ignored.

    Flatters a model that says one box a photo; here because others report it.
    """
    return (photo.iou[0, 0] if photo.iou.size else 0.0), int(len(photo.iou) > 0)


def mean_iou_per_photo(photo: Pairing) -> Share:
    """Over photos with a table, the mean of `mean_iou` within each."""
    return (best(photo.iou).mean() if photo.iou.size else 0.0), int(len(photo.iou) > 0)


def false_alarm_rate(photo: Pairing) -> Share:
    """Of the photos without a table, the share in which a box was found."""
    empty = not len(photo.iou)
    return int(empty and len(photo.confidence) > 0), int(empty)


def precision_recall_f1(
    hits: np.ndarray, found: np.ndarray, true: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """From each photo's boxes matched one-to-one (`matching.match`), and those found and true.

    Precision is the matched share of the found boxes, recall that of the true ones, and F1, their
    harmonic mean, twice the matched over found and true together.
    """
    return (hits, found), (hits, true), (2 * hits, found + true)


MEASURES: dict[str, Callable[[Pairing], Share]] = {
    measure.__name__: measure
    for measure in (
        mean_iou,
        mean_iou_one_to_one,
        mean_iou_symmetric,
        mean_iou_first_box,
        mean_iou_per_photo,
        false_alarm_rate,
    )
}
STRICTNESS = (0.5, 0.75, 0.9)
NAMES = (
    *MEASURES,
    *(f"{name}@{iou:g}" for iou in STRICTNESS for name in ("precision", "recall", "f1")),
    "malformed_rate",
    "seconds_per_photo",
)


@dataclass(frozen=True)
class Tally:
    """What each photo adds to each of NAMES: sums above and below the line, (photos, names)."""

    above: np.ndarray
    below: np.ndarray

    def scores(self) -> dict[str, float]:
        """Every number over all photos; NaN for a rate of nothing (no empty photo, no times)."""
        values = shares(self.above.sum(0), self.below.sum(0))
        unknown = {"false_alarm_rate", "seconds_per_photo"}
        counted = self.below.sum(0) > 0
        return {
            name: float(value) if known or name not in unknown else float("nan")
            for name, value, known in zip(NAMES, values, counted, strict=True)
        }

    def of(self, photos: np.ndarray) -> "Tally":
        """The tally of some photos, by index or mask."""
        return Tally(self.above[photos], self.below[photos])

    def photo_iou(self, photo: int) -> float:
        """`mean_iou` within one photo; NaN for one without a table."""
        column = NAMES.index("mean_iou")
        below = self.below[photo, column]
        return float(self.above[photo, column] / below) if below else float("nan")


def tally(answers: Answers, pairings: list[Pairing] | None = None) -> Tally:
    """Counts every photo once; `malformed_rate` is the share of photos with a malformed box in the
    answer, `seconds_per_photo` the mean of those that were timed."""
    pairings = pairings if pairings is not None else pair(answers)
    counted = [[measure(photo) for measure in MEASURES.values()] for photo in pairings]
    columns = [*np.array(counted, dtype=float).transpose(1, 2, 0)]
    hits = np.array([photo.hits for photo in pairings])
    true, found = np.array([photo.iou.shape for photo in pairings]).T
    for iou in STRICTNESS:
        columns += precision_recall_f1(hits[:, column_of(iou)], found, true)
    timed = np.isfinite(answers.seconds)
    columns.append((answers.malformed > 0, np.ones(len(timed))))
    columns.append((np.where(timed, answers.seconds, 0), timed))
    above, below = (np.array(side, dtype=float).T for side in zip(*columns, strict=True))
    return Tally(above, below)


def shares(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Above over below, element by element; 0 / 0 is 0."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)


def best(iou: np.ndarray) -> np.ndarray:
    """For each row its greatest IoU, 0 where there is none to choose from."""
    return iou.max(1) if iou.shape[1] else np.zeros(len(iou))
