"""All numbers, each defined once: a ratio of two sums over photos, so that all resample alike.

A measure takes photos with equally many boxes and returns each photo's terms of the numerator and
of the denominator; 0 / 0 counts as 0. Labels are ignored: a box under another label counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment

from eval.metrics.pairing import Pairing, Photos, pair
from eval.predictions.predictions import Answers

Share = tuple[np.ndarray | float, np.ndarray | float]


def mean_iou(photos: Photos) -> Share:
    """Over all true boxes, the IoU of the predicted box that fits each best, 0 if there is none.

    The headline, as the original notebook's `mean_gt_iou`: one predicted box may fit two true ones.
    """
    return photos.best_iou().sum(1), photos.true.shape[1]


def mean_iou_one_to_one(photos: Photos) -> Share:
    """Over all true boxes, the IoU of the predicted box assigned to each, 0 for those left over.

    The assignment with the greatest sum (Hungarian method, `scipy.optimize.linear_sum_assignment`).
    """
    if min(photos.iou.shape[1:]) > 1:
        sums = [one[linear_sum_assignment(one, maximize=True)].sum() for one in photos.iou]
        return np.array(sums), photos.true.shape[1]
    return photos.iou.max((1, 2), initial=0), photos.true.shape[1]


def mean_iou_symmetric(photos: Photos) -> Share:
    """Over photos with a table, half the mean best IoU of its true boxes and half of its predicted.

    As one of the reimplementations of the original reports it: superfluous boxes lower it, and a
    photo with three tables counts as much as one with a single table.
    """
    if not photos.iou.size:
        return 0, _with_a_table(photos)
    return (photos.best_iou().mean(1) + photos.iou.max(1).mean(1)) / 2, 1


def mean_iou_first_box(photos: Photos) -> Share:
    """Over photos with a table, the IoU of the first true and first predicted box, others ignored.

    Flatters a model that predicts one box per photo; here because others report it.
    """
    return (photos.iou[:, 0, 0] if photos.iou.size else 0), _with_a_table(photos)


def mean_iou_per_photo(photos: Photos) -> Share:
    """Over photos with a table, the mean of `mean_iou` within each."""
    return (photos.best_iou().mean(1) if photos.iou.size else 0), _with_a_table(photos)


def false_alarm_rate(photos: Photos) -> Share:
    """Of the photos without a table, the share with a predicted box."""
    without = 1 - _with_a_table(photos)
    return without * int(photos.predicted.shape[1] > 0), without


def precision_recall_f1(
    hits: np.ndarray, predicted: np.ndarray, true: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Precision is the share of predicted boxes matched one-to-one to true ones, recall the share
    of true ones so matched, F1 their harmonic mean: 2 * matches / (predicted + true boxes).

    From the numbers per photo of matches (`nutrition_vl.matching.match`), predicted, true boxes.
    """
    return (hits, predicted), (hits, true), (2 * hits, predicted + true)


MEASURES: dict[str, Callable[[Photos], Share]] = {
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
    """Each photo's terms of each of NAMES: numerators and denominators, (photos, names)."""

    above: np.ndarray
    below: np.ndarray

    def scores(self) -> dict[str, float]:
        """Every number over all photos; NaN for a rate without photos or times."""
        values = shares(self.above.sum(0), self.below.sum(0))
        optional = {"false_alarm_rate", "seconds_per_photo"}
        counted = self.below.sum(0) > 0
        return {
            name: float(value) if any_term or name not in optional else float("nan")
            for name, value, any_term in zip(NAMES, values, counted, strict=True)
        }

    def of(self, photos: np.ndarray) -> "Tally":
        """The tally of some photos, by index or mask."""
        return Tally(self.above[photos], self.below[photos])

    def photo_iou(self, photo: int) -> float:
        """`mean_iou` within one photo; NaN for one without a table."""
        column = NAMES.index("mean_iou")
        below = self.below[photo, column]
        return float(self.above[photo, column] / below) if below else float("nan")


def tally(answers: Answers, pairing: Pairing | None = None) -> Tally:
    """The terms of all photos; `malformed_rate` is the share of photos with a malformed box in the
    text, `seconds_per_photo` the mean of those with a time."""
    pairing = pairing or pair(answers)
    columns = [_column(pairing, measure) for measure in MEASURES.values()]
    true = pairing.per_photo(lambda photos: photos.true.shape[1])
    predicted = pairing.per_photo(lambda photos: photos.predicted.shape[1])
    for iou in STRICTNESS:
        hits = pairing.per_photo(partial(Photos.hits, threshold=iou))
        columns += precision_recall_f1(hits, predicted, true)
    timed = np.isfinite(answers.seconds)
    columns.append((answers.malformed > 0, np.ones(len(timed))))
    columns.append((np.where(timed, answers.seconds, 0), timed))
    above, below = (np.array(side, dtype=float).T for side in zip(*columns, strict=True))
    return Tally(above, below)


def shares(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Above over below, element by element; 0 / 0 is 0."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)


def _column(pairing: Pairing, measure: Callable[[Photos], Share]) -> tuple[np.ndarray, np.ndarray]:
    return (
        pairing.per_photo(lambda photos: measure(photos)[0]),
        pairing.per_photo(lambda photos: measure(photos)[1]),
    )


def _with_a_table(photos: Photos) -> int:
    return int(photos.true.shape[1] > 0)
