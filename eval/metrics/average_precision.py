"""COCO's average precision and recall, from the matches at its ten IoU thresholds.

Definitions as in pycocotools' `COCOeval` (https://cocodataset.org/#detection-eval): 101 recall
points, precision made monotone, at most 100 boxes a photo. The tests hold it against pycocotools;
here it is NumPy, so that evaluating needs no compiler and 100,000 boxes take a second.
"""

from copy import copy
from dataclasses import dataclass, replace
from math import nan

import numpy as np

from eval.metrics.pairing import Pairing, Photos, column_of, pair
from eval.predictions.predictions import Answers
from nutrition_vl.matching import UNMATCHED, match

RECALL_POINTS = np.linspace(0, 1, 101)
MAX_FOUND = 100
RIGHT, WRONG, UNJUDGED = 1, 0, -1


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's average precision, labels disregarded: the mean over IoU 0.50 to 0.95, at 0.50 and at
    0.75, and the mean recall AR, with 100 boxes a photo at most.

    `curve` is the precision at RECALL_POINTS for IoU 0.50.
    """

    ap: float
    ap50: float
    ap75: float
    ar: float
    curve: np.ndarray

    def scores(self) -> dict[str, float]:
        """The four numbers by the names of the report."""
        return {"ap": self.ap, "ap50": self.ap50, "ap75": self.ap75, "ar": self.ar}


@dataclass(frozen=True)
class Counted:
    """Which true and which found boxes count, as masks over `Answers`; COCO's area ranges.

    A found box matched to a true one that does not count is neither right nor wrong, and so is an
    unmatched one that does not count itself.
    """

    true: np.ndarray
    found: np.ndarray


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


def unranked(answers: Answers) -> float:
    """AP if every box were equally sure, so that they rank as they come; what is missing to AP is
    what confidences are worth."""
    found = copy(answers.predictions)
    found.confidence = np.ones(len(found))
    level = replace(answers, predictions=found)
    return average_precision(level, pair(level)).ap


def _ranked(answers: Answers, pairing: Pairing, counted: Counted | None) -> np.ndarray:
    """RIGHT, WRONG or UNJUDGED at each threshold for every found box, the surest first, (f, 10)."""
    assert answers.predictions.confidence is not None
    verdicts = pairing.per_found(
        lambda photos: photos.matches != UNMATCHED if counted is None else _judged(photos, counted)
    )
    among_first = pairing.per_found(lambda photos: _rank(photos.confidence) < MAX_FOUND)
    order = np.argsort(-answers.predictions.confidence, kind="stable")
    return verdicts[order[among_first[order]]].astype(int)


def _judged(photos: Photos, counted: Counted) -> np.ndarray:
    """The verdicts on the photos' found boxes, (n, f, 10)."""
    true, found = counted.true[photos.true], counted.found[photos.found]
    matches = match(photos.iou, photos.confidence, true)
    verdicts = np.where(found[..., None], WRONG, np.full(matches.shape, UNJUDGED))
    photo, box, column = np.nonzero(matches != UNMATCHED)
    of_match = true[photo, matches[photo, box, column]]
    verdicts[photo, box, column] = np.where(of_match, RIGHT, UNJUDGED)
    return verdicts


def _rank(confidence: np.ndarray) -> np.ndarray:
    """The place of each box among those of its photo, the surest being 0."""
    return np.argsort(np.argsort(-confidence, axis=1, kind="stable"), axis=1)


def _curve(correct: np.ndarray, truths: int) -> np.ndarray:
    """Precision at RECALL_POINTS: the best one to be had at that recall or a greater one."""
    found = np.cumsum(correct == RIGHT)
    precision = found / np.arange(1, len(found) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / truths, RECALL_POINTS, side="left")
    return np.append(precision, 0.0)[np.minimum(reached, len(precision))]
