"""Box text: written as Qwen2-VL spells it, and read back however a model spells it."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from tokenizers import Tokenizer

from nutrition_vl.boxes import EXAMPLE, GRID, LABELS, from_text, make_detections, to_text

SHARED = Path(__file__).parents[2].parent / "shared"
TABLE, TEXT, SMALL, ENERGY = LABELS


def read(text, image_wh=(GRID, GRID)):
    """Boxes as tuples of grid numbers, and how many were malformed."""
    parsed = from_text(text, image_wh)
    return [tuple(box) for box in parsed.detections.xyxy.tolist()], parsed.malformed


def test_the_spelling_is_qwens_own():
    detections = make_detections([[100, 40, 300, 90]], [SMALL])
    assert to_text(detections, (400, 100)) == (
        "<|object_ref_start|>nutrition-table-small<|object_ref_end|>"
        "<|box_start|>(250,400),(750,900)<|box_end|>"
    )


def test_boxes_are_written_from_top_to_bottom_then_left_to_right():
    detections = make_detections([[5, 50, 9, 60], [50, 10, 60, 20], [10, 10, 20, 20]])
    boxes, _ = read(to_text(detections, (100, 100)))
    assert [box[:2] for box in boxes] == [(100, 100), (500, 100), (50, 500)]


def test_a_photo_without_a_table_is_an_empty_text():
    assert to_text(make_detections([]), (640, 480)) == ""
    assert to_text(sv.Detections.empty(), (640, 480)) == ""
    assert read("") == ([], 0)


@pytest.mark.parametrize("image_wh", [(1, 4000), (28, 28), (640, 480), (1000, 1000), (9000, 7000)])
def test_writing_and_reading_moves_a_corner_by_half_a_grid_step_at_most(image_wh):
    corners = np.random.default_rng(0).random((200, 2, 2)) * 0.98
    corners = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 0.02], axis=1)
    boxes = corners * [*image_wh, *image_wh]
    for box, label in zip(boxes, LABELS * 50, strict=True):
        back = from_text(to_text(make_detections([box], [label]), image_wh), image_wh)
        assert np.abs(back.detections.xyxy[0] - box).max() <= max(image_wh) / GRID / 2 * 1.001
        assert list(back.detections.data["class_name"]) == [label]
        assert back.malformed == 0


def test_a_box_thinner_than_a_grid_step_survives():
    # 20719159_3 of the validation split has a true box of 2 x 1 pixels; here at two borders.
    thin = make_detections([[3998, 10, 4000, 11], [0, 2999.5, 1, 3000]])
    back = from_text(to_text(thin, (4000, 3000)), (4000, 3000))
    assert (len(back.detections), back.malformed) == (2, 0)


def test_boxes_beyond_the_photo_are_written_inside_it():
    outside = make_detections([[-50, -50, 150, 40]])
    assert read(to_text(outside, (100, 100))) == ([(0, 0, 1000, 400)], 0)


def test_detections_without_classes_are_refused():
    with pytest.raises(ValueError, match="make_detections"):
        to_text(sv.Detections(xyxy=np.array([[0, 0, 1, 1.0]])), (10, 10))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (EXAMPLE.replace("(120,85),(640,910)", "(1,2),(3,4)"), TABLE),
        (
            f"<|object_ref_start|>{ENERGY}<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
            ENERGY,
        ),
        ("<|box_start|>(1,2),(3,4)<|box_end|>", TABLE),
        ("<|box_start|>(1,2),(3,4)", TABLE),
        ("nutrition-table(1,2),(3,4)", TABLE),
        ("nutrition-table-text(1,2),(3,4)", TEXT),
        ("nutrition-table<box>(1,2),(3,4)</box>", TABLE),
        ("nutrition-table<box>(1,2),(3,4)>", TABLE),
        ("nutrition-table<box>(1,2),(3,4)></box>", TABLE),
        ("nutrition-table<box>(1,2),(3,4)", TABLE),
        ("nutrition-table-small<box(1,2),(3,4)>", SMALL),
        ("food package<box>(1,2),(3,4)</box>", TABLE),
        ("my-nutrition-table-text(1,2),(3,4)", TABLE),
        ("The table is at ( 1.0 , 2 ) , ( 3, 4.0 ).", TABLE),
        ("(3,4),(1,2)", TABLE),
        ("(3,2),(1,4)", TABLE),
    ],
)
def test_every_spelling_of_one_box_is_read(text, label):
    parsed = from_text(text, (GRID, GRID))
    assert parsed.detections.xyxy.tolist() == [[1, 2, 3, 4]]
    assert parsed.detections.class_id.tolist() == [LABELS.index(label)]
    assert parsed.malformed == 0


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("", 0),
        ("There is no nutrition table on this photo.", 0),
        ("Energy 1046 kJ (250 kcal), fat 12, 3.5 of which saturates, salt 0.9 (15 %)", 0),
        ("[120, 85, 640, 910]", 0),
        ("120,85,640,910", 0),
        ("It stands at (12,34).", 0),
        ("<|box_start|><|box_end|>", 1),
        ("<|box_start|>(1,2)<|box_end|>", 1),
        ("<|box_start|>(1,2),(3,4", 1),
        ("<|box_start|>(1,2),(3,a)<|box_end|>", 1),
        ("<|box_start|>(12", 1),
        ("nutrition-table<box>", 1),
        ("nutrition-table(1,2),(", 1),
        ("(5,5),(5,9)", 1),
        ("(5,5),(9,5)", 1),
        ("(1200,5),(1300,9)", 1),
        ("(-9,5),(-3,9)", 1),
        ("<|quad_start|>(1,2),(3,2),(3,4),(1,4)<|quad_end|>", 1),
        ("(1,2),(3,4),(5,6)", 1),
        ("(1..2,3),(4,5)", 0),
        ("(nan,1),(inf,2)", 0),
        ("(1e3,2),(3,4)", 0),
    ],
)
def test_what_is_no_whole_box_is_not_harvested(text, malformed):
    assert read(text) == ([], malformed)


def test_points_outside_are_clipped_to_the_photo():
    assert read("(-20,500),(1700,99999999999999999999)", (200, 100)) == ([(0, 50, 200, 100)], 0)


def test_several_boxes_keep_their_labels_and_places():
    text = (
        "Two: nutrition-table(1,2),(3,4), nutrition-table-text<box>(5,6),(7,8)</box>\n(9,9),(9,9)!"
    )
    parsed = from_text(text, (GRID, GRID))
    assert parsed.detections.xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert [text[start:end] for start, end in parsed.spans] == [
        "nutrition-table(1,2),(3,4)",
        "nutrition-table-text<box>(5,6),(7,8)</box>",
    ]
    assert parsed.malformed == 1


def test_neighbours_without_a_separator_are_two_boxes():
    detections = make_detections([[0, 0, 10, 10], [20, 20, 30, 30]], [TEXT, ENERGY])
    stripped = to_text(detections, (100, 100))
    for mark in ("object_ref_start", "object_ref_end", "box_start", "box_end"):
        stripped = stripped.replace(f"<|{mark}|>", "")
    parsed = from_text(stripped, (100, 100))
    assert parsed.detections.xyxy.tolist() == detections.xyxy.tolist()
    assert list(parsed.detections.data["class_name"]) == [TEXT, ENERGY]


def test_the_span_of_a_box_is_all_of_it():
    parsed = from_text(f"Here: {EXAMPLE}.", (GRID, GRID))
    assert parsed.spans == [(6, 6 + len(EXAMPLE))]


def test_confidence_is_given_or_one():
    assert make_detections([[0, 0, 1, 1]]).confidence.tolist() == [1]
    assert make_detections([[0, 0, 1, 1]], None, [0.25]).confidence.tolist() == [0.25]


@pytest.mark.parametrize("piece", ["nutrition-table", " ", "(", "1,", "(1,2),", "<box", "a"])
def test_reading_a_long_text_takes_linear_time(piece):
    start = time.perf_counter()
    read(piece * 20_000)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("name", "mean_iou", "cut_short"), [("baseline", 0.59040521, 1), ("exp1a", 0.76607349, 0)]
)
def test_the_published_answers_of_the_7b_give_the_published_numbers(name, mean_iou, cut_short):
    file = SHARED / "reference" / f"{name}_samples.csv"
    if not file.exists():
        pytest.skip("the published answers are not beside this checkout")
    best, malformed = [], 0
    for row in csv.DictReader(file.open(encoding="utf-8")):
        parsed = from_text(row["prediction"], (1, 1))
        malformed += parsed.malformed
        published = np.array(json.loads(row["pred_boxes"])).reshape(-1, 4)
        np.testing.assert_allclose(parsed.detections.xyxy, published, atol=1e-6)
        truth = np.array(json.loads(row["gt_boxes"]))[:, [1, 0, 3, 2]]
        best += sv.box_iou_batch(truth, published).max(axis=1, initial=0).tolist()
    assert (len(best), malformed) == (130, cut_short)
    assert np.mean(best) == pytest.approx(mean_iou, abs=5e-9)


@pytest.fixture(scope="module")
def vocabulary():
    file = SHARED / "tokenizer" / "tokenizer.json"
    if not file.exists():
        pytest.skip("Qwen's vocabulary is not beside this checkout")
    return Tokenizer.from_file(str(file))


def test_the_marks_are_single_tokens_of_qwens_vocabulary(vocabulary):
    ids = vocabulary.encode("<|object_ref_start|><|object_ref_end|><|box_start|><|box_end|>").ids
    assert ids == [151646, 151647, 151648, 151649]


def test_a_box_in_qwens_tokens(vocabulary):
    encoding = vocabulary.encode(to_text(make_detections([[265, 49, 735, 1000]]), (1000, 1000)))
    assert encoding.tokens == [
        *("<|object_ref_start|>", "nutrition", "-table", "<|object_ref_end|>", "<|box_start|>"),
        *("(", "2", "6", "5", ",", "4", "9", "),(", "7", "3", "5", ",", "1", "0", "0", "0", ")"),
        "<|box_end|>",
    ]
    assert vocabulary.token_to_id("),(") == 23547
    assert vocabulary.decode(encoding.ids, skip_special_tokens=False) == (
        "<|object_ref_start|>nutrition-table<|object_ref_end|>"
        "<|box_start|>(265,49),(735,1000)<|box_end|>"
    )


def test_an_answer_decoded_without_special_tokens_is_still_read(vocabulary):
    ids = vocabulary.encode(EXAMPLE).ids
    assert read(vocabulary.decode(ids, skip_special_tokens=True)) == ([(120, 85, 640, 910)], 0)
