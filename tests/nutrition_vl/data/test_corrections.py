"""Corrections replace boxes exactly, and a mistake in them is one sentence."""

import json

import pytest

from nutrition_vl.boxes import LABELS
from nutrition_vl.data import load_split
from tests.helpers.labelled import label


@pytest.fixture
def data(tmp_path):
    return label(tmp_path / "set", [[(0.1, 0.1, 0.5, 0.5)], [(0.2, 0.2, 0.6, 0.6)]], (200, 100))


def corrected(data, *entries, split="val"):
    file = data / "corrections.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    rows = load_split(data, split, corrections=file).remove_columns("image")
    return {row["id"]: (row["xyxy"], row["label"]) for row in rows}


def entry(box, name="pack0", **more):
    return {"id": name, "xyxy": [box], "label": [LABELS[1]]} | more


def test_boxes_are_replaced_and_the_others_stay(data):
    rows = corrected(data, entry([10, 20, 30, 40.5]), {"id": "pack1", "leave_out": True})
    assert rows == {"pack0": ([[10, 20, 30, 40.5]], [LABELS[1]])}
    rows = corrected(data, {"id": "pack1", "xyxy": [], "label": []})
    assert rows["pack1"] == ([], []) and rows["pack0"][0] == [pytest.approx([20, 10, 100, 50])]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (entry([10, 20, float("nan"), 40]), "needs xyxy"),
        (entry([10, 20, float("inf"), 40]), "needs xyxy"),
        (entry([0, 0, True, 40]), "needs xyxy"),
        (entry([10, 20, 300, 40]), "not in pixels of the upright photo of 200 x 100"),
        (entry([0.1, 0.2, 0.3, 0.4]), "not in pixels of the upright photo of 200 x 100"),
        ({"id": "pack0", "leave_out": "false"}, "leave_out must be true or false"),
    ],
)
def test_a_box_that_is_not_in_the_photo_is_refused_by_name(data, changed, reason):
    with pytest.raises(ValueError, match=rf"corrections\.jsonl, pack0: .*{reason}"):
        corrected(data, changed)


def test_a_photo_is_corrected_once(data):
    with pytest.raises(ValueError, match="the photo pack0 is there twice"):
        corrected(data, entry([10, 20, 30, 40]), entry([10, 20, 30, 50]))


def test_entries_of_other_splits_only_are_not_passed_over_in_silence(data, caplog):
    corrected(data, entry([10, 20, 30, 40], split="Val"))
    assert "none of its entries is of split val, but of Val" in caplog.text
