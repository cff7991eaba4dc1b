"""COCO's average precision and recall, from the matches at its ten IoU thresholds.

Definitions as in pycocotools' `COCOeval` (https://cocodataset.org/#detection-eval): 101 recall
points, precision made monotone, at most 100 boxes per photo. The tests compare it with pycocotools;
NumPy needs no compiler and takes a second for 100,000 boxes.
"""

from copy import copy
from dataclasses import dataclass, replace
from math import nan

import numpy as np

from eval.metrics.pairing import Pairing, Photos, column_of, pair
from eval.predictions.predictions import Answers
from nutrition_vl.matching import UNMATCHED, match

RECALL_POINTS = np.linspace(0, 1, 101)
MAX_BOXES = 100
RIGHT, WRONG, UNJUDGED = 1, 0, -1


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's average precision, labels ignored: the mean over IoU 0.50 to 0.95, at 0.50 and at
    0.75, and the mean recall AR, with at most 100 boxes per photo.

    `curve` is the precision at RECALL_POINTS for IoU 0.50.
    """

    ap: float
    ap50: float
    ap75: float
    ar: float
    curve: np.ndarray

    def scores(self) -> dict[str, float]:
        """The four numbers by name."""
        return {"ap": self.ap, "ap50": self.ap50, "ap75": self.ap75, "ar": self.ar}


@dataclass(frozen=True)
class Counted:
    """The boxes that count, as masks over `Answers`: true and predicted; COCO's area ranges.

    A predicted box is neither right nor wrong if it is matched to a true box that does not count,
    or is unmatched and does not count itself.
    """

    true: np.ndarray
    predicted: np.ndarray


def average_precision(
    answers: Answers, pairing: Pairing, counted: Counted | None = None
) -> AveragePrecision:
    """AP and AR over all photos; NaN where there is no true box."""
    truths = len(answers.truth) if counted is None else int(counted.true.sum())
    if not truths:
        return AveragePrecision(nan, nan, nan, nan, np.full(len(RECALL_POINTS), nan))
    verdicts = _ranked(answers, pairing, counted)
    curves = np.array([_curve(column[column != UNJUDGED], truths) for column in verdicts.T])
    areas, recall = curves.mean(1), (verdicts == RIGHT).sum(0).mean() / truths
    at_75 = areas[column_of(0.75)]
    return AveragePrecision(
        float(areas.mean()), float(areas[0]), float(at_75), float(recall), curves[0]
    )


def ap_without_confidence(answers: Answers) -> float:
    """AP with all confidences equal; the gap to AP is what confidences add."""
    predictions = copy(answers.predictions)
    predictions.confidence = np.ones(len(predictions))
    level = replace(answers, predictions=predictions)
    return average_precision(level, pair(level)).ap


def _ranked(answers: Answers, pairing: Pairing, counted: Counted | None) -> np.ndarray:
    """RIGHT, WRONG or UNJUDGED per box and threshold, by falling confidence, (boxes, 10)."""
    assert answers.predictions.confidence is not None
    verdicts = pairing.per_predicted(
        lambda photos: photos.matches != UNMATCHED if counted is None else _judged(photos, counted)
    )
    in_limit = pairing.per_predicted(lambda photos: _rank(photos.confidence) < MAX_BOXES)
    order = np.argsort(-answers.predictions.confidence, kind="stable")
    return verdicts[order[in_limit[order]]].astype(int)


def _judged(photos: Photos, counted: Counted) -> np.ndarray:
    """The verdicts on the photos' predicted boxes, (n, f, 10)."""
    true, predicted = counted.true[photos.true], counted.predicted[photos.predicted]
    matches = match(photos.iou, photos.confidence, true)
    verdicts = np.where(predicted[..., None], WRONG, np.full(matches.shape, UNJUDGED))
    photo, box, column = np.nonzero(matches != UNMATCHED)
    counts = true[photo, matches[photo, box, column]]
    verdicts[photo, box, column] = np.where(counts, RIGHT, UNJUDGED)
    return verdicts


def _rank(confidence: np.ndarray) -> np.ndarray:
    """The rank of each box within its photo by falling confidence, from 0."""
    return np.argsort(np.argsort(-confidence, axis=1, kind="stable"), axis=1)


def _curve(correct: np.ndarray, truths: int) -> np.ndarray:
    """Precision at RECALL_POINTS: the highest at that recall or a greater one."""
    hits = np.cumsum(correct == RIGHT)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(hits / truths, RECALL_POINTS, side="left")
    return np.append(precision, 0.0)[np.minimum(reached, len(precision))]
