"""COCO's average precision and recall, from the matches at its ten IoU thresholds.

Definitions as in pycocotools' `COCOeval` (https://cocodataset.org/#detection-eval): 101 recall
points, precision made monotone, at most 100 boxes a photo, all box sizes. The tests hold it
against pycocotools; here it is NumPy, so that evaluating needs no compiler.
"""

from dataclasses import dataclass
from math import nan

import numpy as np

from eval.matching import NOTHING, Pairing, column_of

RECALL_POINTS = np.linspace(0, 1, 101)
MAX_FOUND = 100


@dataclass(frozen=True)
class AveragePrecision:
    """AP over IoU 0.50 to 0.95, at 0.50, at 0.75, and AR at 100 boxes a photo; the precision at
    RECALL_POINTS for IoU 0.50 is `curve`. All boxes are one class: restrict `Answers` for more."""

    ap: float
    ap50: float
    ap75: float
    ar: float
    curve: np.ndarray

    def scores(self) -> dict[str, float]:
        """The four numbers by the names of the report."""
        return {"ap": self.ap, "ap50": self.ap50, "ap75": self.ap75, "ar": self.ar}


def average_precision(pairings: list[Pairing]) -> AveragePrecision:
    """AP and AR over all photos; NaN where there is no true box."""
    truths = sum(len(photo.iou) for photo in pairings)
    if not truths:
        return AveragePrecision(nan, nan, nan, nan, np.full(len(RECALL_POINTS), nan))
    correct = _ranked(pairings)
    curves = np.array([_curve(column, truths) for column in correct.T])
    areas = curves.mean(1)
    recall = correct.sum(0).mean() / truths
    at_75 = areas[column_of(0.75)]
    return AveragePrecision(
        float(areas.mean()), float(areas[0]), float(at_75), float(recall), curves[0]
    )


def _ranked(pairings: list[Pairing]) -> np.ndarray:
    """All found boxes, the surest first: which are matched at which threshold, (found, 10)."""
    orders = [np.argsort(-photo.confidence, kind="stable")[:MAX_FOUND] for photo in pairings]
    columns = list(zip(pairings, orders, strict=True))
    confidence = np.concatenate([photo.confidence[order] for photo, order in columns])
    matches = np.concatenate([photo.matches[order] for photo, order in columns])
    return matches[np.argsort(-confidence, kind="stable")] != NOTHING


def _curve(correct: np.ndarray, truths: int) -> np.ndarray:
    """Precision at RECALL_POINTS: the best one to be had at that recall or a greater one."""
    found = np.cumsum(correct)
    precision = found / np.arange(1, len(found) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / truths, RECALL_POINTS, side="left")
    return np.append(precision, 0.0)[np.minimum(reached, len(precision))]
