"""Numbers by label, size, number of tables and confidence, worked out by hand."""

import numpy as np
import pytest

from eval.metrics.measures import tally
from eval.metrics.pairing import pair
from eval.metrics.slices import (
    by_size,
    by_tables,
    by_threshold,
    confusion,
    operating_points,
)
from eval.predictions.predictions import Prediction, Truth, join
from tests.helpers.answers import (
    FAR,
    LEFT,
    RIGHT,
    TABLE,
    TEXT,
    answers,
    paired,
)


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
