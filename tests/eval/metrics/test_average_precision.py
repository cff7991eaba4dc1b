"""AP by hand, and agreement with pycocotools."""

import contextlib
import io

import numpy as np
import pytest

from eval.metrics.average_precision import ap_without_confidence, average_precision
from eval.metrics.measures import tally
from eval.metrics.slices import (
    SIZES,
    by_label,
    by_size,
)
from eval.predictions.predictions import Answers
from nutrition_vl.boxes import LABELS
from tests.helpers.answers import (
    FAR,
    LEFT,
    MOST_OF_LEFT,
    answers,
    numbers,
    paired,
    random_answers,
)


def by_pycocotools(row: Answers, by_label: bool, sizes=((0, 1e10),) * 4) -> np.ndarray:
    """COCO's AP, AP50, AP75 and AR at 100, and AP of its small, medium and large boxes; `sizes` are
    the areas of all, small, medium and large ones."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    from pycocotools.cocoeval import COCOeval

    truth, found = coco.COCO(), coco.COCO()
    images = [{"id": number} for number in range(1, len(row.ids) + 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(LABELS)]
    for side, boxes in ((truth, row.truth), (found, row.predictions)):
        entries = [
            {
                "id": number,
                "image_id": int(photo) + 1,
                "category_id": int(kind),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
                "score": float(sure),
            }
            for number, ((x0, y0, x1, y1), photo, kind, sure) in enumerate(
                zip(
                    boxes.xyxy.astype(float).tolist(),
                    boxes.data["photo"],
                    boxes.class_id,
                    boxes.confidence,
                    strict=True,
                ),
                1,
            )
        ]
        side.dataset = {"images": images, "annotations": entries, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        judge = COCOeval(truth, found, "bbox")
        judge.params.useCats = int(by_label)
        judge.params.areaRng = [list(bounds) for bounds in sizes]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[[0, 1, 2, 8, 3, 4, 5]]


def test_average_precision_by_hand():
    row = answers(([LEFT], [FAR, LEFT], [0.9, 0.8]), ([LEFT], [MOST_OF_LEFT], [0.7]))
    # Ranked: wrong, right, right up to 0.80; recall 1/2 at precision 1/2, 1 at 2/3, made monotone.
    full, half = 2 / 3, 51 / 101 * 0.5  # above 0.80 only one of two is found: 51 of 101 points
    assert numbers(row) == pytest.approx([(7 * full + 3 * half) / 10, full, full, 0.85])


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_agrees_with_pycocotools(seed):
    row = random_answers(seed=seed)
    assert numbers(row) == pytest.approx(by_pycocotools(row, False)[:4].tolist(), abs=1e-9)


def test_average_precision_by_label_agrees_with_pycocotools():
    row = random_answers()
    ours = [entry["ap"] for entry in by_label(row, row)]
    assert np.mean(ours) == pytest.approx(by_pycocotools(row, by_label=True)[0], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_by_size_agrees_with_pycocotools(seed):
    row = random_answers(seed=seed, longest=75)
    bounds = [(low, min(high, 1e6)) for low, high in SIZES.values()]
    areas = [(0, 1e10), *((low * 100**2, high * 100**2) for low, high in bounds)]
    theirs = by_pycocotools(row, by_label=False, sizes=areas)[4:]
    ours = {entry["slice"]: entry["ap"] for entry in by_size(*paired(row), paired(row))}
    assert [ours[name] for name in SIZES] == pytest.approx(theirs.tolist(), abs=1e-9)


def test_a_photo_shows_at_most_a_hundred_boxes_to_average_precision():
    boxes = [FAR] * 100 + [LEFT]
    row = answers(([LEFT], boxes, np.linspace(0.9, 0.1, 101).tolist()))
    assert numbers(row) == [0, 0, 0, 0]
    assert tally(row).scores()["recall@0.5"] == 1


def test_average_precision_of_no_truth_and_of_no_answer():
    assert np.isnan(numbers(answers(([], [LEFT])))).all()
    assert numbers(answers(([LEFT], []))) == [0, 0, 0, 0]


def test_equally_sure_boxes_rank_as_they_come():
    # The wrong one comes first: 1 / 2 at every recall, where confidences put it last.
    row = answers(([], [FAR], [0.2]), ([LEFT], [LEFT], [0.9]))
    assert average_precision(*paired(row)).ap == pytest.approx(1)
    assert ap_without_confidence(row) == pytest.approx(0.5)
    assert row.predictions.confidence.tolist() == [0.2, 0.9]
