"""The numbers by label, by size and number of tables, and by confidence."""

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
Row = dict[str, Any]


def by_label(answers: Answers, every: Answers) -> list[Row]:
    """Per label in the truth: boxes of that label alone; AP from `every` box."""
    assert answers.truth.class_id is not None
    rows: list[Row] = []
    for class_id in np.unique(answers.truth.class_id):
        of_label = answers.of_label(class_id)
        unfiltered = every.of_label(class_id)
        head = {"slice": LABELS[class_id], "boxes": len(of_label.truth)}
        ap = {"ap": average_precision(unfiltered, pair(unfiltered)).ap}
        rows.append(head | _main(tally(of_label)) | ap)
    return rows


def by_tables(answers: Answers, counts: Tally) -> list[Row]:
    """Per number of true boxes in a photo; photos with none are `false_alarm_rate`."""
    tables = np.bincount(answers.truth.data["photo"], minlength=len(answers.ids)).clip(max=3)
    rows: list[Row] = []
    for number, name in enumerate(("one table", "two tables", "three or more"), 1):
        photos = tables == number
        if photos.any():
            rows.append({"slice": name, "photos": int(photos.sum())} | _main(counts.of(photos)))
    return rows


def by_size(answers: Answers, pairing: Pairing, every: tuple[Answers, Pairing]) -> list[Row]:
    """Per size of the true boxes, as a share of the photo: mean IoU, recall at 0.5, and COCO's AP
    from `every` box."""
    share, predicted = _share(answers, answers.truth), _share(every[0], every[0].predictions)
    fit = pairing.per_true(Photos.best_iou)
    hit = np.isin(np.arange(len(share)), pairing.matched(0.5))
    rows: list[Row] = []
    for name, (low, high) in SIZES.items():
        inside = (low <= share) & (share < high)
        if inside.any():
            counted = Counted(inside, (low <= predicted) & (predicted < high))
            scores = {"mean_iou": fit[inside].mean(), "recall@0.5": hit[inside].mean()}
            ap = {"ap": average_precision(*every, counted).ap}
            rows.append({"slice": name, "boxes": int(inside.sum())} | scores | ap)
    return rows


def confusion(answers: Answers, pairing: Pairing) -> np.ndarray:
    """Counts (true, predicted) of labels of boxes matched at IoU 0.5; the last of each is none."""
    assert answers.truth.class_id is not None and answers.predictions.class_id is not None
    table = np.zeros((len(LABELS) + 1, len(LABELS) + 1), dtype=int)
    matched = pairing.matched(0.5)
    true = np.append(answers.truth.class_id, len(LABELS))[matched]  # UNMATCHED is the last
    np.add.at(table, (true, answers.predictions.class_id), 1)
    missed = np.setdiff1d(np.arange(len(answers.truth)), matched)
    np.add.at(table, (answers.truth.class_id[missed], len(LABELS)), 1)
    return table


def by_threshold(answers: Answers, pairing: Pairing) -> list[Row]:
    """Only boxes of confidence >= t: the share of photos without a table that have one,
    `false_alarm_rate`, and precision and recall of these boxes at IoU 0.5."""
    photo, confidence = answers.predictions.data["photo"], answers.predictions.confidence
    hit, truths = pairing.matched(0.5) != UNMATCHED, len(answers.truth)
    without = np.bincount(answers.truth.data["photo"], minlength=len(answers.ids)) == 0
    rows: list[Row] = []
    for threshold in THRESHOLDS:
        above = confidence >= threshold
        alarms = np.bincount(photo[above], minlength=len(answers.ids))[without] > 0
        hits = int((above & hit).sum())
        scores = {
            "false_alarm_rate": _ratio(alarms.sum(), without.sum()),
            "precision@0.5": _ratio(hits, above.sum()),
            "recall@0.5": _ratio(hits, truths),
        }
        rows.append({"confidence": float(threshold)} | scores)
    return rows


def operating_points(answers: Answers, pairing: Pairing) -> list[Row]:
    """Photos used only with exactly one box of confidence >= t: `coverage` is the share of such
    photos, `precision` the share of these whose box has IoU 0.5 with a true one."""
    photo, confidence = answers.predictions.data["photo"], answers.predictions.confidence
    fits = pairing.per_predicted(lambda photos: photos.iou.max(1, initial=0) >= 0.5)
    points: list[Row] = []
    for threshold in THRESHOLDS:
        above = confidence >= threshold
        used = np.bincount(photo[above], minlength=len(answers.ids)) == 1
        precision = _ratio(used[photo[above & fits]].sum(), used.sum())
        points.append(
            {"confidence": float(threshold), "coverage": used.mean(), "precision": precision}
        )
    return points


def _main(counts: Tally) -> dict[str, float]:
    names = ("mean_iou", "precision@0.5", "recall@0.5", "f1@0.5")
    return {name: counts.scores()[name] for name in names}


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _share(answers: Answers, boxes: sv.Detections) -> np.ndarray:
    """Each box's share of its photo's area."""
    return boxes.box_area / answers.sizes[boxes.data["photo"]].prod(1)
