"""Golden numbers worked out by hand, and agreement with supervision."""

import time

import numpy as np
import pytest
import supervision as sv
from supervision.metrics import F1Score, MeanAveragePrecision, Precision, Recall

from eval.metrics.average_precision import average_precision
from eval.metrics.measures import tally
from eval.predictions.predictions import Answers, Prediction, Truth, join
from eval.report.results import evaluate
from nutrition_vl.matching import iou
from tests.helpers.answers import (
    FAR,
    HALF_OF_LEFT,
    LEFT,
    MOST_OF_LEFT,
    RIGHT,
    TABLE,
    answers,
    numbers,
    paired,
    random_answers,
    scores,
)


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


@pytest.mark.slow
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
