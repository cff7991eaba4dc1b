"""Where a model is good and where not: by label, size and number of tables, and how sure it is."""

from typing import Any

import numpy as np
import supervision as sv

from eval.metrics.average_precision import Counted, average_precision
from eval.metrics.measures import Tally, tally
from eval.metrics.pairing import Pairing, Photos, pair
from eval.predictions.predictions import Answers
from nutrition_vl.boxes import LABELS
from nutrition_vl.matching import UNMATCHED

# Shares of the photo's area: pixels would say more about the camera than about the table.
SIZES = {
    "small (< 5 %)": (0, 0.05),
    "medium (5-20 %)": (0.05, 0.2),
    "large (>= 20 %)": (0.2, np.inf),
}
THRESHOLDS = np.arange(10) / 10  # of confidence; np.linspace has 0.6000000000000001
BINS = 10  # of confidence
Row = dict[str, Any]


def by_label(answers: Answers, every: Answers) -> list[Row]:
    """For each label in the truth: its boxes alone, found under that label; AP hears every box."""
    assert answers.truth.class_id is not None
    rows: list[Row] = []
    for class_id in np.unique(answers.truth.class_id):
        of_label = answers.of_label(class_id)
        heard = every.of_label(class_id)
        named = {"slice": LABELS[class_id], "boxes": len(of_label.truth)}
        ap = {"ap": average_precision(heard, pair(heard)).ap}
        rows.append(named | _main(tally(of_label)) | ap)
    return rows


def by_tables(answers: Answers, counts: Tally) -> list[Row]:
    """For photos with one, two and more true boxes; those with none are `false_alarm_rate`."""
    tables = np.bincount(answers.truth.data["photo"], minlength=len(answers.ids)).clip(max=3)
    rows: list[Row] = []
    for number, name in enumerate(("one table", "two tables", "three or more"), 1):
        photos = tables == number
        if photos.any():
            rows.append({"slice": name, "photos": int(photos.sum())} | _main(counts.of(photos)))
    return rows


def by_size(answers: Answers, pairing: Pairing, every: tuple[Answers, Pairing]) -> list[Row]:
    """For true boxes by their share of the photo's area: mean IoU, recall at 0.5, AP as COCO's,
    which hears every box."""
    share, heard_share = _share(answers, answers.truth), _share(every[0], every[0].predictions)
    fit = pairing.per_true(Photos.best_iou)
    hit = np.isin(np.arange(len(share)), pairing.matched(0.5))
    rows: list[Row] = []
    for name, (low, high) in SIZES.items():
        inside = (low <= share) & (share < high)
        if inside.any():
            counted = Counted(inside, (low <= heard_share) & (heard_share < high))
            found = {"mean_iou": fit[inside].mean(), "recall@0.5": hit[inside].mean()}
            ap = {"ap": average_precision(*every, counted).ap}
            rows.append({"slice": name, "boxes": int(inside.sum())} | found | ap)
    return rows


def confusion(answers: Answers, pairing: Pairing) -> np.ndarray:
    """Counts (true, found) of labels over boxes matched at IoU 0.5; the last of each is nothing."""
    assert answers.truth.class_id is not None and answers.predictions.class_id is not None
    table = np.zeros((len(LABELS) + 1, len(LABELS) + 1), dtype=int)
    matched = pairing.matched(0.5)
    true = np.append(answers.truth.class_id, len(LABELS))[matched]  # UNMATCHED is the last
    np.add.at(table, (true, answers.predictions.class_id), 1)
    missed = np.setdiff1d(np.arange(len(answers.truth)), matched)
    np.add.at(table, (answers.truth.class_id[missed], len(LABELS)), 1)
    return table


def by_threshold(answers: Answers, pairing: Pairing) -> list[Row]:
    """Only boxes of confidence >= t used: of the photos without a table the share in which one is
    left, `false_alarm_rate`, and precision and recall at IoU 0.5 of the boxes left."""
    photo, confidence = answers.predictions.data["photo"], answers.predictions.confidence
    hit, truths = pairing.matched(0.5) != UNMATCHED, len(answers.truth)
    without = np.bincount(answers.truth.data["photo"], minlength=len(answers.ids)) == 0
    rows: list[Row] = []
    for threshold in THRESHOLDS:
        sure = confidence >= threshold
        alarmed = np.bincount(photo[sure], minlength=len(answers.ids))[without] > 0
        hits = int((sure & hit).sum())
        found = {
            "false_alarm_rate": _share_of(alarmed.sum(), without.sum()),
            "precision@0.5": _share_of(hits, sure.sum()),
            "recall@0.5": _share_of(hits, truths),
        }
        rows.append({"confidence": float(threshold)} | found)
    return rows


def operating_points(answers: Answers, pairing: Pairing) -> list[Row]:
    """Answers used only with exactly one box of confidence >= t: `coverage` is the share of photos
    with such an answer, `precision` the share of these whose box fits a true one to IoU 0.5."""
    photo, confidence = answers.predictions.data["photo"], answers.predictions.confidence
    fits = pairing.per_found(lambda photos: photos.iou.max(1, initial=0) >= 0.5)
    points: list[Row] = []
    for threshold in THRESHOLDS:
        sure = confidence >= threshold
        used = np.bincount(photo[sure], minlength=len(answers.ids)) == 1
        right = int(used[photo[sure & fits]].sum())
        precision = right / used.sum() if used.any() else float("nan")
        points.append(
            {"confidence": float(threshold), "coverage": used.mean(), "precision": precision}
        )
    return points


def calibration(answers: Answers, pairing: Pairing) -> list[Row]:
    """Found boxes in ten bins of confidence: how sure they are and the share matched at 0.5."""
    confidence = answers.predictions.confidence
    assert confidence is not None
    hit = pairing.matched(0.5) != UNMATCHED
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "boxes": int((bins == number).sum()),
            "confidence": float(confidence[bins == number].mean()),
            "precision": float(hit[bins == number].mean()),
        }
        for number in np.unique(bins)
    ]


def _main(counts: Tally) -> dict[str, float]:
    names = ("mean_iou", "precision@0.5", "recall@0.5", "f1@0.5")
    return {name: counts.scores()[name] for name in names}


def _share_of(some: float, of_all: float) -> float:
    return float(some / of_all) if of_all else float("nan")


def _share(answers: Answers, boxes: sv.Detections) -> np.ndarray:
    """Each box's share of its photo's area."""
    return boxes.box_area / answers.sizes[boxes.data["photo"]].prod(1)
