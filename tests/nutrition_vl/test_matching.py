"""Who matches whom, worked out by hand."""

import numpy as np
import pytest

from nutrition_vl.matching import UNMATCHED, best_iou, iou, is_right, match

LEFT, RIGHT = [0, 0, 10, 10], [50, 0, 60, 10]
HALF, MOST = [0, 0, 10, 5], [0, 0, 10, 8]  # IoU 0.5 and 0.8 with LEFT


def overlap(true, predicted):
    return iou(np.array(true).reshape(-1, 4), np.array(predicted).reshape(-1, 4))


def test_iou_is_intersection_over_union():
    assert overlap([LEFT, RIGHT], [HALF, MOST, RIGHT]).tolist() == [[0.5, 0.8, 0], [0, 0, 1]]


def test_a_box_without_area_overlaps_nothing():
    assert overlap([[5, 5, 5, 5]], [[5, 5, 5, 5]]).tolist() == [[0]]


def test_the_best_iou_of_a_missed_table_is_zero():
    assert best_iou(overlap([LEFT, RIGHT], [HALF, MOST])).tolist() == [0.8, 0]
    assert best_iou(overlap([LEFT, RIGHT], [])).tolist() == [0, 0]
    assert best_iou(overlap([], [LEFT])).tolist() == []


def test_each_true_box_makes_one_predicted_box_right_the_most_confident_one():
    boxes = overlap([LEFT], [MOST, HALF])
    assert is_right(boxes, np.array([0.4, 0.9])).tolist() == [False, True]
    assert is_right(boxes, np.array([0.5, 0.5])).tolist() == [True, False]  # the first of equals
    assert is_right(boxes, np.array([0.4, 0.9]), 0.75).tolist() == [True, False]


@pytest.mark.parametrize(("true", "predicted"), [([], [LEFT]), ([LEFT], []), ([], [])])
def test_nothing_is_right_where_one_side_is_empty(true, predicted):
    right = is_right(overlap(true, predicted), np.ones(len(predicted)))
    assert right.tolist() == [False] * len(predicted)


def test_a_box_takes_the_true_box_it_overlaps_most_unless_another_is_counted():
    both = np.array([[[0.9], [0.6]]])  # one photo, two true boxes, one predicted
    assert match(both, np.ones((1, 1)), thresholds=[0.5]).ravel().tolist() == [0]
    counted = np.array([[False, True]])
    assert match(both, np.ones((1, 1)), counted, [0.5]).ravel().tolist() == [1]
    assert match(both, np.ones((1, 1)), counted, [0.95]).ravel().tolist() == [UNMATCHED]
