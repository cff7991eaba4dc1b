"""Where a model is good and where not: by label, size and number of tables, and how sure it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.answers import Answers
from eval.average_precision import average_precision
from eval.matching import NOTHING, Pairing, column_of, pair
from eval.metrics import Tally, best, tally
from nutrition_vl.boxes import LABELS

# Shares of the photo's area: pixels would say more about the camera than about the table.
SIZES = {"small (< 5 %)": (0, 0.05), "medium": (0.05, 0.2), "large (>= 20 %)": (0.2, np.inf)}
HALF = column_of(0.5)
Row = dict[str, Any]


def by_label(answers: Answers) -> list[Row]:
    """For each label in the truth: its boxes alone, found under that label."""
    assert answers.truth.class_id is not None
    rows: list[Row] = []
    for class_id in np.unique(answers.truth.class_id):
        of_label = answers.of_label(class_id)
        pairings = pair(of_label)
        numbers = _main(tally(of_label, pairings)) | {"ap": average_precision(pairings).ap}
        rows.append({"slice": LABELS[class_id], "boxes": len(of_label.truth)} | numbers)
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


def by_size(answers: Answers, pairings: Sequence[Pairing]) -> list[Row]:
    """For true boxes by their share of the photo's area: mean IoU and recall at 0.5."""
    area = answers.sizes[answers.truth.data["photo"]].prod(1)
    share = answers.truth.box_area / area
    fit = np.concatenate([best(photo.iou) for photo in pairings])
    hit = np.concatenate([_hit(photo) for photo in pairings])
    rows: list[Row] = []
    for name, (low, high) in SIZES.items():
        inside = (low <= share) & (share < high)
        if inside.any():
            found = {"mean_iou": fit[inside].mean(), "recall@0.5": hit[inside].mean()}
            rows.append({"slice": name, "boxes": int(inside.sum())} | found)
    return rows


def confusion(answers: Answers, pairings: Sequence[Pairing]) -> np.ndarray:
    """Counts (true, found) of labels over boxes matched at IoU 0.5; the last of each is nothing."""
    assert answers.truth.class_id is not None and answers.found.class_id is not None
    table = np.zeros((len(LABELS) + 1, len(LABELS) + 1), dtype=int)
    sizes = [len(photo.iou) for photo in pairings]
    start = np.repeat(np.cumsum([0, *sizes[:-1]]), [len(photo.confidence) for photo in pairings])
    chosen = np.concatenate([photo.matches[:, HALF] for photo in pairings])
    matched = np.where(chosen == NOTHING, NOTHING, chosen + start)
    true = np.append(answers.truth.class_id, len(LABELS))[matched]  # NOTHING is the last
    np.add.at(table, (true, answers.found.class_id), 1)
    missed = np.setdiff1d(np.arange(len(answers.truth)), matched)
    np.add.at(table, (answers.truth.class_id[missed], len(LABELS)), 1)
    return table


def operating_points(pairings: Sequence[Pairing]) -> list[Row]:
    """Answers used only with exactly one box of confidence >= t: `coverage` is the share of photos
    with such an answer, `precision` the share of these whose box matches a true one at IoU 0.5."""
    photo = np.repeat(np.arange(len(pairings)), [len(found.confidence) for found in pairings])
    confidence = np.concatenate([found.confidence for found in pairings])
    fits = np.concatenate([(found.iou >= 0.5).any(0) for found in pairings])
    points: list[Row] = []
    for threshold in np.linspace(0, 0.9, 10):
        sure = confidence >= threshold
        used = np.bincount(photo[sure], minlength=len(pairings)) == 1
        right = int(used[photo[sure & fits]].sum())
        precision = right / used.sum() if used.any() else float("nan")
        points.append(
            {"confidence": float(threshold), "coverage": used.mean(), "precision": precision}
        )
    return points


def calibration(pairings: Sequence[Pairing]) -> list[Row]:
    """Found boxes in ten bins of confidence: how sure they are and the share matched at 0.5."""
    confidence = np.concatenate([photo.confidence for photo in pairings])
    hit = np.concatenate([photo.matches[:, HALF] != NOTHING for photo in pairings])
    bins = np.minimum((confidence * 10).astype(int), 9)
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


def _hit(photo: Pairing) -> np.ndarray:
    """Which true boxes are matched at IoU 0.5."""
    return np.isin(np.arange(len(photo.iou)), photo.matches[:, HALF])
