"""Every predictions format gives the same answers, and every mistake one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from eval.__main__ import main as evaluate_command
from eval.config import EvalConfig
from eval.metrics.measures import tally
from eval.predictions.predictions import Truth
from eval.predictions.read import read
from eval.report.results import compare, evaluate
from eval.sweep.score import score
from nutrition_vl.boxes import LABELS
from nutrition_vl.export import export

REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference"
TRUTHS = [
    Truth("a", 200, 100, [[10, 20, 110, 70]], [LABELS[0]]),
    Truth("b", 100, 100, [], []),
]
BOX = {"xyxy": [10, 20, 110, 70], "label": LABELS[0], "confidence": 0.75}
LINE = {"id": "a", "width": 200, "height": 100, "boxes": [BOX]}
EMPTY = {"id": "b", "boxes": []}


def lines(folder, *rows) -> Path:
    file = folder / "row.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def coco(folder, *entries) -> Path:
    file = folder / "row.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    return file


def test_our_lines(tmp_path):
    said = "(1,2),(3,"
    row = read(lines(tmp_path, EMPTY, LINE | {"text": said, "seconds": 0.5}), TRUTHS)
    assert (row.name, row.ids) == ("row", ["a", "b"])
    assert row.predictions.xyxy.tolist() == [BOX["xyxy"]]
    assert row.predictions.confidence.tolist() == [0.75]
    assert row.predictions.data["photo"].tolist() == [0]
    assert row.malformed.tolist() == [1, 0]
    assert tally(row).scores()["seconds_per_photo"] == 0.5


def test_files_are_scored_without_what_models_and_photos_need(tmp_path):
    file = tmp_path / "samples.csv"
    file.write_text(
        'image_id,prediction,pred_boxes,gt_boxes\na,,"[[0, 0, 1, 1]]","[[0, 0, 1, 1]]"\n'
    )
    code = (
        "import sys; from eval.__main__ import main; "
        f"assert not main(['--predictions', {str(file)!r}]); "
        "print(*{'torch', 'transformers', 'datasets'} & {*sys.modules})"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, numbers, loaded = told.stdout.splitlines()
    assert json.loads(numbers)["results"][0]["mean_iou"] == 1 and loaded == ""


def test_photos_may_be_named_by_their_files(tmp_path):
    rows = ({"photo": "some/where/a.jpg", "boxes": [BOX]}, {"photo": "b.png", "boxes": []})
    assert read(lines(tmp_path, *rows), TRUTHS).predictions.xyxy.tolist() == [BOX["xyxy"]]


def test_coco_results_by_our_names(tmp_path):
    entry = {"image_id": "a", "category_id": 1, "bbox": [10, 20, 100, 50], "score": 0.75}
    row = read(coco(tmp_path, entry), TRUTHS)
    assert row.predictions.xyxy.tolist() == [BOX["xyxy"]]
    assert row.predictions.class_id.tolist() == [1]
    assert row.predictions.confidence.tolist() == [0.75]


def test_coco_results_by_the_numbers_of_their_data_set(tmp_path):
    data = tmp_path / "instances.json"
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}]
    categories = [{"id": 4, "name": "table"}]
    mark = {"id": 1, "image_id": 7, "category_id": 4, "bbox": [10, 20, 100, 50]}
    content = {"images": images, "categories": categories, "annotations": [mark]}
    data.write_text(json.dumps(content))
    entry = {"image_id": 7, "category_id": 4, "bbox": [10, 20, 100, 50], "score": 0.75}
    row = read(coco(tmp_path, entry), TRUTHS, str(data))
    assert row.predictions.xyxy.tolist() == [BOX["xyxy"]]
    assert row.predictions.data["photo"].tolist() == [0]


def instances(folder, categories=("nutrition-table", "barcode"), ids=(1, 2)):
    """COCO of the photos a (with a table) and b, both 400 x 300."""
    for name in "ab":
        Image.new("RGB", (400, 300)).save(folder / f"{name}.jpg")
    images = [
        {"id": i, "file_name": f"{name}.jpg", "width": 400, "height": 300}
        for i, name in zip(ids, "ab", strict=True)
    ]
    content = {
        "images": images,
        "annotations": [{"id": 1, "image_id": ids[0], "category_id": 1, "bbox": [20, 10, 100, 50]}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
    }
    (folder / "inst.json").write_text(json.dumps(content))
    return folder / "inst.json"


def scored(capsys, *argv):
    assert evaluate_command([str(word) for word in argv]) == 0
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1])["results"][0], err


RESULTS = [
    {"image_id": 1, "category_id": 1, "bbox": [20, 10, 100, 50], "score": 0.9},
    {"image_id": 1, "category_id": 2, "bbox": [200, 200, 60, 50], "score": 0.95},
    {"image_id": 2, "category_id": 2, "bbox": [200, 200, 60, 50], "score": 0.95},
]


@pytest.mark.parametrize("as_text", [False, True])
def test_boxes_of_another_class_are_left_out_and_counted(as_text, tmp_path, capsys, caplog):
    data = instances(tmp_path, ids=("1", 2) if as_text else (1, 2))
    file = coco(tmp_path, *RESULTS)
    numbers, _ = scored(capsys, "--predictions", file, "--data", data, "--out", tmp_path / "out")
    assert numbers["precision@0.5"] == numbers["f1@0.5"] == 1
    assert "left out the boxes of other classes: 2 of barcode" in caplog.text


@pytest.mark.parametrize(
    "names", [(1.0, "2"), ("1", 2.0), ("a.jpg", "b"), ("x/a.jpg", r"C:\\b.jpg")]
)
def test_a_photo_of_results_is_its_number_or_its_name_however_written(names, tmp_path):
    data = instances(tmp_path)
    results = [RESULTS[0] | {"image_id": name} for name in names]
    truths = [Truth("a", 400, 300, [], []), Truth("b", 400, 300, [], [])]
    answers = read(coco(tmp_path, *results), truths, str(data))
    assert answers.predictions.data["photo"].tolist() == [0, 1]


def test_the_group_of_the_classes_is_no_class(tmp_path):
    data = instances(tmp_path, ["facts", "food"])
    content = json.loads(data.read_text())
    content["categories"][0]["supercategory"] = "food"  # as Roboflow writes
    data.write_text(json.dumps(content))
    truths = [Truth("a", 400, 300, [], []), Truth("b", 400, 300, [], [])]
    assert len(read(coco(tmp_path, RESULTS[0]), truths, str(data)).predictions) == 1


BAD_IMAGES = [None, {"id": 9}, {"id": 9, "file_name": "lost.jpg"}]


@pytest.mark.parametrize("bad", BAD_IMAGES)
def test_a_bad_image_of_the_data_set_is_named_and_the_others_are_scored(bad, tmp_path, caplog):
    data = instances(tmp_path)
    content = json.loads(data.read_text())
    content["images"].append(bad)
    data.write_text(json.dumps(content))
    report = score(EvalConfig(predictions=[coco(tmp_path, *RESULTS)], data=str(data)))
    assert report.results[0].scores()["f1@0.5"] == 1
    assert "1 entries are not scored" in caplog.text


def test_boxes_of_a_photo_that_is_not_scored_belong_to_no_other_of_its_name(tmp_path):
    for folder in "xy":
        (tmp_path / folder).mkdir()
        instances(tmp_path / folder)
    images = [{"id": 1, "file_name": "x/a.jpg"}, {"id": 2, "file_name": "y/a.jpg"}]
    marks = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1]},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [20, 10, 100, 50]},
    ]
    content = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "facts"}]}
    (tmp_path / "inst.json").write_text(json.dumps(content))
    results = [RESULTS[0] | {"bbox": [200, 200, 60, 50]}, RESULTS[0] | {"image_id": 2}]
    data = str(tmp_path / "inst.json")
    report = score(EvalConfig(predictions=[coco(tmp_path, *results)], data=data))
    assert report.results[0].scores()["f1@0.5"] == 1


def test_results_of_a_folder_of_coco_have_its_numbers(tmp_path):
    (tmp_path / "val").mkdir()
    instances(tmp_path / "val")
    file = coco(tmp_path, *RESULTS)
    truths = [Truth("a", 400, 300, [], []), Truth("b", 400, 300, [], [])]
    assert len(read(file, truths, str(tmp_path)).predictions) == 1


def test_a_foreign_name_is_the_table_where_it_is_named(tmp_path):
    data = instances(tmp_path, ("facts panel", "barcode"))
    truths = [Truth("a", 400, 300, [], []), Truth("b", 400, 300, [], [])]
    file = coco(tmp_path, *RESULTS)
    answers = read(file, truths, str(data), label="facts panel")
    assert answers.predictions.xyxy.tolist() == [[20, 10, 120, 60]]


@pytest.mark.parametrize(
    ("names", "ids", "boxes"),
    [
        (["facts"], [0], 1),
        (["facts"], [1], 1),  # Ultralytics counts from 1
        (["barcode", LABELS[0]], [0, 1], 1),
        (["barcode", LABELS[0]], [1], "may be counted from 0 or from 1"),
        (["barcode", LABELS[0]], [0, 2], "category_id 2 is none of 0, 1"),
    ],
)
def test_results_of_yolo_have_its_numbers_or_are_refused(names, ids, boxes, tmp_path):
    (tmp_path / "data.yaml").write_text(json.dumps({"names": names, "val": "images"}))
    entries = [{"image_id": "a", "category_id": i, "bbox": [2, 1, 9, 5], "score": 1} for i in ids]
    results = coco(tmp_path, *entries)
    if isinstance(boxes, int):
        assert len(read(results, TRUTHS, str(tmp_path)).predictions) == boxes
    else:
        with pytest.raises(ValueError, match=boxes):
            read(results, TRUTHS, str(tmp_path))


def test_lines_of_other_classes_are_refused_or_left_out(tmp_path, caplog):
    boxes = [BOX | {"label": "panel"}, BOX | {"label": "barcode"}]
    file = lines(tmp_path, LINE | {"boxes": boxes}, EMPTY)
    with pytest.raises(ValueError, match=r"the label 'panel' is none of .* --label"):
        read(file, TRUTHS)
    assert read(file, TRUTHS, label="panel").predictions.data["class_name"].tolist() == [LABELS[0]]
    assert "left out the boxes of other classes: 1 of barcode" in caplog.text


def test_shares_are_no_pixels(tmp_path):
    shares = BOX | {"xyxy": [0.05, 0.2, 0.55, 0.7]}
    with pytest.raises(ValueError, match=r"row\.jsonl: all boxes are from 0 to 1: give pixels"):
        read(lines(tmp_path, LINE | {"boxes": [shares]}, EMPTY), TRUTHS)
    entry = {"image_id": "a", "category_id": 0, "bbox": [0.05, 0.2, 0.5, 0.5], "score": 0.5}
    with pytest.raises(ValueError, match=r"row\.json: all boxes are from 0 to 1: give pixels"):
        read(coco(tmp_path, entry), TRUTHS)


def test_boxes_that_leave_their_photos_are_not_scored_without_a_word(tmp_path, caplog):
    read(lines(tmp_path, LINE | {"boxes": [BOX | {"xyxy": [100, 20, 400, 70]}]}, EMPTY), TRUTHS)
    assert "1 of 1 boxes reach out of their photo" in caplog.text


LINES = [
    {"photo": "packs/a.jpg", "width": 200, "height": 100, "boxes": [BOX]},
    {"photo": "packs/b.jpg", "width": 100, "height": 100, "boxes": []},
]


def test_exported_coco_instances_are_scored_as_the_lines_they_came_from(tmp_path):
    file = tmp_path / "boxes.json"
    file.write_bytes(export(LINES, "coco", {}))
    answers = read(file, TRUTHS)
    assert answers.predictions.xyxy.tolist() == [BOX["xyxy"]]
    assert answers.predictions.confidence.tolist() == [BOX["confidence"]]
    assert answers.predictions.data["photo"].tolist() == [0]


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([LINES[0], {"photo": "b.jpg", "error": "no photo"}], "1 of the split's 2 photos are miss"),
        ([*LINES, LINES[0] | {"photo": "more/a.jpg"}], "photo a is there twice"),
        ([LINES[0] | {"width": 100, "height": 50}, LINES[1]], "a is 100 x 50 there, but 200 x 100"),
    ],
)
def test_coco_instances_name_each_photo_of_the_split_once_in_its_size(records, reason, tmp_path):
    file = tmp_path / "boxes.json"
    file.write_bytes(export(records, "coco", {}))
    with pytest.raises(ValueError, match=reason):
        read(file, TRUTHS)


def test_labels_are_no_predictions(tmp_path):
    file = tmp_path / "labels.json"
    content = json.loads(export(LINES, "coco", {}))
    del content["annotations"][0]["score"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"labels\.json holds labels: .* need a score"):
        read(file, TRUTHS)


def test_coco_results_with_corners_are_refused(tmp_path):
    """As x, y, width, height this box ends at 120, 90 of 200 x 100, and the next at 250, 130."""
    common = {"image_id": "a", "category_id": 0, "score": 0.9}
    boxes = [[10, 20, 110, 70], [100, 50, 150, 80]]
    with pytest.raises(ValueError, match=r"1 boxes .* reach out of their photos as x, y, width"):
        read(coco(tmp_path, *[common | {"bbox": box} for box in boxes]), TRUTHS)


def test_coco_photos_of_one_name_are_told_apart(tmp_path):
    data = tmp_path / "instances.json"
    images = [{"id": 7, "file_name": "y/a.jpg"}, {"id": 8, "file_name": "x/a.jpg"}]
    mark = {"id": 1, "image_id": 7, "category_id": 0, "bbox": [10, 20, 100, 50]}
    categories = [{"id": 0, "name": "table"}]
    content = {"images": images, "categories": categories, "annotations": [mark]}
    data.write_text(json.dumps(content))
    truths = [Truth("a", 200, 100, [], []), Truth("a-2", 200, 100, [], [])]  # x/a, y/a
    entry = {"image_id": 7, "category_id": 0, "bbox": [10, 20, 100, 50], "score": 0.75}
    assert read(coco(tmp_path, entry), truths, str(data)).predictions.data["photo"].tolist() == [1]


def test_samples_turn_the_truth_and_not_the_answer(tmp_path):
    file = tmp_path / "row.csv"
    file.write_text(
        "sample_idx,image_id,iou,prediction,pred_boxes,gt_boxes\n"
        '0,a,0.5,"two\nlines","[[0.1, 0.2, 0.5, 0.4]]","[[0.2, 0.1, 0.4, 0.5]]"\n'
        "1,b,0,,[],[]\n"
    )
    row = read(file)
    assert tally(row).scores()["mean_iou"] == pytest.approx(1)
    assert row.texts == ["two\nlines", ""]


def test_samples_may_be_named_by_their_files(tmp_path):
    file = tmp_path / "row.csv"
    rows = 'photos/a.jpg,,"[[0.05, 0.2, 0.55, 0.7]]",[]\nb,,[],[]\n'
    file.write_text(f"image_id,prediction,pred_boxes,gt_boxes\n{rows}")
    assert read(file, TRUTHS).predictions.xyxy.tolist() == [pytest.approx(BOX["xyxy"])]


def published(name) -> Path:
    """The original's answers, boxes and truth inside."""
    file = REFERENCE / f"{name}_samples.csv"
    if not file.exists():
        pytest.skip("the original's result files are not here")
    return file


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("baseline", (0.59040521, 0.66141732, 0.64615385, 0.65369650)),
        ("exp1a", (0.76607349, 0.92682927, 0.87692308, 0.90118577)),
    ],
)
def test_published_answers_give_the_published_numbers(name, numbers):
    found = tally(read(published(name))).scores()
    measures = ("mean_iou", "precision@0.5", "recall@0.5", "f1@0.5")
    assert tuple(round(found[measure], 8) for measure in measures) == numbers


def test_published_answers_differ_by_what_was_published():
    base, tuned = (evaluate(read(published(name))) for name in ("baseline", "exp1a"))
    found = compare(tuned, base, "mean_iou")
    assert found.value == pytest.approx(0.76607349 - 0.59040521, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((0.14, 0.21), abs=0.01)
    assert not found.holds_zero


def test_the_order_of_photos_is_of_no_matter(tmp_path):
    head, *rows = published("exp1a").read_text(encoding="utf-8").splitlines()
    turned = tmp_path / "turned.csv"
    turned.write_text("\n".join([head, *reversed(rows)]) + "\n", encoding="utf-8")
    found = compare(evaluate(read(turned)), evaluate(read(published("exp1a"))), "mean_iou")
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0))


@pytest.mark.parametrize(
    ("name", "one_to_one", "symmetric"), [("baseline", 0.589, 0.612), ("exp1a", 0.765, 0.799)]
)
def test_other_definitions_give_the_numbers_others_published(name, one_to_one, symmetric):
    found = tally(read(published(name))).scores()
    assert round(found["mean_iou_one_to_one"], 3) == one_to_one
    assert round(found["mean_iou_symmetric"], 3) == symmetric


def changed(**box):
    return LINE | {"boxes": [BOX | box]}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([LINE], "row: 1 of the split's 2 photos are missing .b."),
        ([LINE, EMPTY, LINE], "entry 3: photo a is there twice, first in .*entry 1"),
        ([LINE, EMPTY, EMPTY | {"id": "c"}], "entry 3: photo c is not in the split"),
        ([changed(xyxy=[1, 2, 3]), EMPTY], "entry 1: a box needs four finite numbers"),
        ([changed(xyxy=[1, 2, 3, float("nan")]), EMPTY], "finite numbers, not .1, 2, 3, NaN"),
        ([changed(xyxy=None), EMPTY], "finite numbers, not null"),
        ([changed(label="table"), EMPTY], "the label 'table' is none of nutrition-table"),
        ([changed(confidence=7), EMPTY], "confidence must be from 0 to 1, not 7"),
        ([LINE | {"width": 20}, EMPTY], "photo a is 20 x 100 there, but 200 x 100 in the split"),
        ([LINE | {"width": "20"}, EMPTY], "expected a number, got '20'"),
        ([LINE | {"seconds": "fast"}, EMPTY], "expected a number, got 'fast'"),
        ([LINE, {"photo": "b", "error": "damaged"}], "entry 2: that photo was not read .damaged"),
        ([LINE, {"boxes": []}], 'entry 2: needs an "id" or a "photo"'),
        ([changed(xyxy=[1, 2, 3, 10**400]), EMPTY], "entry 1: a box needs four finite numbers"),
        ([LINE | {"malformed": float("inf")}, EMPTY], "entry 1: expected a count, got inf"),
        ([LINE | {"malformed": -1}, EMPTY], "entry 1: expected a count, got -1"),
        ([LINE, ["b"]], 'entry 2: needs an "id" or a "photo"'),
        ([LINE, {"id": "b"}], 'entry 2: needs "boxes"'),
        (
            [{"id": "a", "boxes": [{"xyxy": [9, 2, 3, 8]}]}, EMPTY],
            "entry 1: a box is x0, y0, x1, y1",
        ),
    ],
)
def test_mistakes_in_lines(tmp_path, rows, reason):
    with pytest.raises(ValueError, match=reason):
        read(lines(tmp_path, *rows), TRUTHS)


def test_a_corrupt_line_is_named(tmp_path):
    file = lines(tmp_path, LINE)
    file.write_text(file.read_text() + '{"id": "b", "box')
    with pytest.raises(ValueError, match=r"row\.jsonl, line 2"):
        read(file, TRUTHS)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "entry 1: a box needs four"),
        ({"bbox": [10, 20, -3, 4]}, "entry 1: bbox is x, y, width, height"),
        ({"score": float("nan")}, "entry 1: a confidence"),
        ({"category_id": 4}, "entry 1: category_id 4 is none of 0, 1, 2, 3"),
        ({"category_id": [0]}, "entry 1: image_id and category_id name one"),
        ({"category_id": True}, "entry 1: image_id and category_id name one"),
        ({"score": 10**400}, "entry 1: a confidence"),
        ({"image_id": "z"}, "entry 1: photo z is not in the split"),
    ],
)
def test_mistakes_in_coco_results(tmp_path, entry, reason):
    whole = {"image_id": "a", "category_id": 0, "bbox": [1, 2, 3, 4], "score": 0.5}
    with pytest.raises(ValueError, match=reason):
        read(coco(tmp_path, whole | entry), TRUTHS)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0,a,0,,oops,[]", "line 2: pred_boxes is not a JSON list"),
        ('0,a,0,,"[[0, 0, 1]]",[]', "line 2: a box needs four"),
        ('0,a,0,,"[[0, 0, 1, NaN]]",[]', "line 2: a box needs four"),
        ('0,a,0,,"[[20, 10, 120, 60]]",[]', "line 2: pred_boxes must be in shares"),
        ("0,a,0,[]", "line 2: has more or fewer cells"),
        ("0,a,0,,[],[]\n1,a,0,,[],[]", "line 3: photo a is there twice"),
        ('0,a,0,"never closed,[],[]', "after line 1: no CSV .unexpected end"),
        ("", "has no row below its header"),
    ],
)
def test_mistakes_in_samples(tmp_path, row, reason):
    file = tmp_path / "row.csv"
    file.write_text(f"sample_idx,image_id,iou,prediction,pred_boxes,gt_boxes\n{row}\n")
    with pytest.raises(ValueError, match=reason):
        read(file)


def test_other_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match="no predictions file"):
        read(tmp_path / "none.jsonl", TRUTHS)
    with pytest.raises(ValueError, match="name the data set with --data"):
        read(lines(tmp_path, LINE))
    (tmp_path / "row.csv").write_text("image_id,iou\n")
    with pytest.raises(ValueError, match="lacks the column gt_boxes, pred_boxes, prediction"):
        read(tmp_path / "row.csv")
    (tmp_path / "row.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"row\.csv is not UTF-8"):
        read(tmp_path / "row.csv")
    (tmp_path / "row.txt").write_text("")
    with pytest.raises(ValueError, match="is no predictions file"):
        read(tmp_path / "row.txt", TRUTHS)
