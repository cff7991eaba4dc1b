"""Golden numbers worked out by hand, and agreement with pycocotools and supervision."""

import contextlib
import io
import time

import numpy as np
import pytest
import supervision as sv
from supervision.metrics import F1Score, MeanAveragePrecision, Precision, Recall

from eval.metrics.average_precision import ap_without_confidence, average_precision
from eval.metrics.measures import tally
from eval.metrics.pairing import pair
from eval.metrics.slices import (
    SIZES,
    by_label,
    by_size,
    by_tables,
    by_threshold,
    confusion,
    operating_points,
)
from eval.predictions.predictions import Answers, Prediction, Truth, join
from eval.report.results import evaluate
from nutrition_vl.boxes import LABELS
from nutrition_vl.matching import iou

TABLE, TEXT = LABELS[:2]
LEFT, RIGHT = [0, 0, 10, 10], [50, 0, 60, 10]
HALF_OF_LEFT = [0, 0, 10, 5]  # IoU 0.5 with LEFT
MOST_OF_LEFT = [0, 0, 10, 8]  # IoU 0.8 with LEFT
FAR = [80, 80, 90, 90]


def answers(*photos, malformed=0, seconds=float("nan")) -> Answers:
    """Photos of 100 x 100 as (true boxes, found boxes, confidences)."""
    truths, found = [], []
    for number, (true, boxes, *sure) in enumerate(photos):
        name = f"photo{number}"
        truths.append(Truth(name, 100, 100, true, [TABLE] * len(true)))
        scores = sure[0] if sure else [1.0] * len(boxes)
        labels = [TABLE] * len(boxes)
        found.append(Prediction(name, boxes, labels, scores, "here", malformed, seconds))
    return join("row", truths, found)


def paired(row: Answers):
    return row, pair(row)


def scores(*photos, **more):
    return tally(answers(*photos, **more)).scores()


def test_a_perfect_answer():
    found = scores(([LEFT, RIGHT], [RIGHT, LEFT]))
    assert found["mean_iou"] == found["mean_iou_one_to_one"] == found["mean_iou_symmetric"] == 1
    assert found["f1@0.5"] == found["f1@0.9"] == 1
    assert found["mean_iou_first_box"] == 0  # RIGHT was said first


def test_a_miss_counts_as_zero():
    found = scores(([LEFT], [LEFT]), ([LEFT], []))
    assert found["mean_iou"] == 0.5
    assert (found["precision@0.5"], found["recall@0.5"]) == (1, 0.5)
    assert found["f1@0.5"] == pytest.approx(2 / 3)


def test_one_box_for_two_tables_serves_both_only_in_the_headline():
    across = [0, 0, 20, 10]
    found = scores(([[0, 0, 10, 10], [10, 0, 20, 10]], [across]))
    assert found["mean_iou"] == 0.5
    assert found["mean_iou_one_to_one"] == 0.25
    assert (found["precision@0.5"], found["recall@0.5"]) == (1, 0.5)


def test_two_boxes_for_one_table_cost_precision_and_symmetry():
    found = scores(([LEFT], [LEFT, MOST_OF_LEFT]))
    assert found["mean_iou"] == 1
    assert found["mean_iou_symmetric"] == pytest.approx((1 + 0.9) / 2)
    assert (found["precision@0.5"], found["recall@0.5"]) == (0.5, 1)


def test_definitions_differ_when_photos_hold_unequal_numbers_of_tables():
    found = scores(([LEFT], [LEFT]), ([LEFT, RIGHT, FAR], [MOST_OF_LEFT]))
    assert found["mean_iou"] == pytest.approx((1 + 0.8) / 4)
    assert found["mean_iou_per_photo"] == pytest.approx((1 + 0.8 / 3) / 2)
    assert found["mean_iou_first_box"] == pytest.approx((1 + 0.8) / 2)


@pytest.mark.parametrize(("threshold", "hits"), [(0.5, 2), (0.75, 1), (0.9, 0)])
def test_thresholds_include_their_own_value(threshold, hits):
    found = scores(([LEFT], [HALF_OF_LEFT]), ([LEFT], [MOST_OF_LEFT]))
    assert found[f"recall@{threshold:g}"] == hits / 2


def test_the_surer_box_chooses_first():
    photo = ([LEFT], [HALF_OF_LEFT, MOST_OF_LEFT], [0.9, 0.4])
    assert scores(photo)["recall@0.5"] == 1
    assert scores(photo)["recall@0.75"] == 1  # at 0.75 the surer one fits nothing
    assert average_precision(*paired(answers(photo))).ap75 == pytest.approx(0.5)


def test_boxes_on_photos_without_a_table():
    found = scores(([], [FAR]), ([], []), ([LEFT], [LEFT]))
    assert found["false_alarm_rate"] == 0.5
    assert found["precision@0.5"] == 0.5
    assert found["mean_iou"] == found["mean_iou_per_photo"] == 1


def test_rates_of_nothing_are_unknown_and_shares_of_nothing_are_zero():
    found = scores(([LEFT], []))
    assert np.isnan(found["false_alarm_rate"]) and np.isnan(found["seconds_per_photo"])
    assert found["precision@0.5"] == 0


def test_malformed_answers_and_seconds():
    found = scores(([LEFT], [LEFT]), ([LEFT], []), malformed=2, seconds=1.5)
    assert (found["malformed_rate"], found["seconds_per_photo"]) == (1, 1.5)


def test_boxes_without_area_or_with_swapped_corners_fit_nothing():
    found = iou(np.array([LEFT], float), np.array([[5, 5, 5, 9], [10, 10, 0, 0], LEFT], float))
    assert found.tolist() == [[0, 0, 1]]


def random_answers(photos=40, seed=3, longest=40) -> Answers:
    draw = np.random.default_rng(seed)
    truths, found = [], []
    for number in range(photos):
        corner = draw.uniform(0, 60, (draw.integers(0, 4), 2))
        true = np.hstack([corner, corner + draw.uniform(10, longest, corner.shape)])
        near = true + draw.normal(0, 2.5, true.shape)
        far = np.sort(draw.uniform(0, 100, (draw.integers(0, 3), 2, 2)), axis=1).reshape(-1, 4)
        boxes = np.vstack([near, far])
        kinds = [str(kind) for kind in draw.choice([TABLE, TEXT], len(true))]
        guessed = [str(kind) for kind in draw.choice([TABLE, TEXT], len(boxes))]
        truths.append(Truth(str(number), 100, 100, true.tolist(), kinds))
        sure = draw.uniform(size=len(boxes)).tolist()
        found.append(Prediction(str(number), boxes.tolist(), guessed, sure, "here"))
    return join("random", truths, found)


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


def numbers(row: Answers) -> list[float]:
    return list(average_precision(*paired(row)).scores().values())


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


def per_photo(row: Answers) -> tuple[list[sv.Detections], list[sv.Detections]]:
    """Found and true boxes, a pair a photo, all of one class."""
    pairs = [row.boxes_of(photo) for photo in range(len(row.ids))]
    truth, found = zip(*pairs, strict=True)
    for boxes in (*truth, *found):
        boxes.class_id = np.zeros(len(boxes), dtype=int)
        boxes.xyxy = boxes.xyxy.astype(np.float32)
    return list(found), list(truth)


@pytest.mark.parametrize("seed", range(3))
def test_figures_agree_with_supervision(seed):
    row = random_answers(seed=seed)
    ours, theirs = tally(row).scores(), per_photo(row)
    precision, recall, f1 = (
        metric().update(*theirs).compute() for metric in (Precision, Recall, F1Score)
    )
    for at, threshold in (("50", "0.5"), ("75", "0.75")):
        figures = [
            getattr(precision, f"precision_at_{at}"),
            getattr(recall, f"recall_at_{at}"),
            getattr(f1, f"f1_{at}"),
        ]
        measures = [ours[f"{name}@{threshold}"] for name in ("precision", "recall", "f1")]
        assert measures == pytest.approx(figures, abs=1e-6)
    found = MeanAveragePrecision().update(*theirs).compute()
    expected = [found.map50_95, found.map50, found.map75]
    assert numbers(row)[:3] == pytest.approx(expected, abs=1e-6)


def test_overlaps_agree_with_supervision():
    row = random_answers()
    ours = iou(row.truth.xyxy, row.predictions.xyxy)
    theirs = sv.box_iou_batch(row.truth.xyxy, row.predictions.xyxy)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_average_precision_of_no_truth_and_of_no_answer():
    assert np.isnan(numbers(answers(([], [LEFT])))).all()
    assert numbers(answers(([LEFT], []))) == [0, 0, 0, 0]


def test_labels_are_confused_only_where_boxes_match():
    truths = [Truth("a", 100, 100, [LEFT, RIGHT], [TABLE, TEXT])]
    found = [Prediction("a", [LEFT, FAR], [TEXT, TABLE], [0.9, 0.8], "here")]
    row = join("row", truths, found)
    table = confusion(row, pair(row))
    assert table[0, 1] == 1  # the table was called text
    assert table[1, -1] == 1  # the text was missed
    assert table[-1, 0] == 1  # a table was seen where there is nothing
    assert table.sum() == 3


def test_slices_by_number_and_size_of_tables():
    row = answers(([LEFT], [LEFT]), ([LEFT, [0, 0, 50, 50]], [LEFT]))
    pairing = pair(row)
    number = by_tables(row, tally(row, pairing))
    assert [(entry["slice"], entry["recall@0.5"]) for entry in number] == [
        ("one table", 1),
        ("two tables", 0.5),
    ]
    size = by_size(row, pairing, (row, pairing))  # 1 % and 25 % of the photo
    assert [(entry["boxes"], entry["recall@0.5"]) for entry in size] == [(2, 1), (1, 0)]


def test_a_box_as_sure_as_the_threshold_is_used():
    row = answers(([LEFT], [LEFT], [0.6]))
    recalls = [at["recall@0.5"] for at in by_threshold(*paired(row))]
    coverages = [at["coverage"] for at in operating_points(*paired(row))]
    assert recalls == coverages == [1] * 7 + [0] * 3


def test_the_operating_point_wants_exactly_one_sure_box():
    row = answers(
        ([LEFT], [LEFT, FAR], [0.95, 0.35]), ([LEFT], [FAR], [0.55]), ([LEFT], [LEFT], [0.75])
    )
    points = {round(at["confidence"], 1): at for at in operating_points(*paired(row))}
    assert (points[0.0]["coverage"], points[0.0]["precision"]) == (pytest.approx(2 / 3), 0.5)
    assert (points[0.4]["coverage"], points[0.4]["precision"]) == (1, pytest.approx(2 / 3))
    assert (points[0.6]["coverage"], points[0.6]["precision"]) == (pytest.approx(2 / 3), 1)


def test_false_alarms_get_fewer_with_the_threshold():
    row = answers(
        ([], [FAR], [0.55]),
        ([], [LEFT, FAR], [0.25, 0.15]),
        ([], []),
        ([LEFT], [FAR, LEFT], [0.35, 0.75]),
        ([RIGHT], [RIGHT], [0.45]),
    )
    at = {
        round(point["confidence"], 1): list(point.values())[1:]
        for point in by_threshold(*paired(row))
    }
    assert at[0.0] == [pytest.approx(2 / 3), pytest.approx(2 / 6), 1]
    assert at[0.3] == [pytest.approx(1 / 3), pytest.approx(2 / 4), 1]
    assert at[0.6] == [0, 1, 0.5]
    assert at[0.9][:1] + at[0.9][2:] == [0, 0] and np.isnan(at[0.9][1])
    only = answers(([LEFT], [LEFT], [0.5]))
    assert np.isnan(by_threshold(*paired(only))[0]["false_alarm_rate"])


def test_equally_sure_boxes_rank_as_they_come():
    # The wrong one comes first: 1 / 2 at every recall, where confidences put it last.
    row = answers(([], [FAR], [0.2]), ([LEFT], [LEFT], [0.9]))
    assert average_precision(*paired(row)).ap == pytest.approx(1)
    assert ap_without_confidence(row) == pytest.approx(0.5)
    assert row.predictions.confidence.tolist() == [0.2, 0.9]


def test_scoring_100k_boxes_takes_less_than_10_s_of_cpu_time():
    draw = np.random.default_rng(0)
    corner = draw.uniform(0, 60, (100_000, 2))
    true = np.hstack([corner, corner + draw.uniform(10, 40, corner.shape)])
    found = true + draw.normal(0, 2.5, true.shape)
    sure = draw.uniform(size=len(true))
    truths = [
        Truth(str(number), 100, 100, [box], [TABLE]) for number, box in enumerate(true.tolist())
    ]
    told = [
        Prediction(truth.id, [box], [TABLE], [float(confidence)], "here")
        for truth, box, confidence in zip(truths, found.tolist(), sure, strict=True)
    ]
    start = time.process_time()
    result = evaluate(join("many", truths, told))
    assert time.process_time() - start < 10
    assert result.scores()["ap50"] > 0.8
