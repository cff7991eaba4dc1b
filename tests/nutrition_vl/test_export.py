"""Answers in other people's formats, and back through their readers."""

import io
import json
import os
import re
import zipfile

import numpy as np
import pytest
from pycocotools.coco import COCO

from nutrition_vl.data import load_split
from nutrition_vl.export import export, main
from nutrition_vl.looks.crops import margins_needed
from nutrition_vl.models.checkpoints import DEMO

EXAMPLES = DEMO / "examples"
BOX = {"xyxy": [54.0, 72.0, 270.0, 360.0], "label": "nutrition-table", "confidence": 0.9}
RECORDS = [
    {"photo": "pack_1.jpg", "width": 540, "height": 720, "boxes": [BOX]},
    {"photo": "pack_6.jpg", "width": 540, "height": 720, "boxes": []},
    {"photo": "broken.jpg", "error": "broken.jpg is not a photo"},
]
FILES = {record["photo"]: EXAMPLES / record["photo"] for record in RECORDS}


def members(archive):
    pack = zipfile.ZipFile(io.BytesIO(archive))
    return {name: pack.read(name) for name in pack.namelist()}


def test_coco_is_read_by_pycocotools_and_by_our_own_reader(tmp_path):
    file = tmp_path / "boxes.json"
    file.write_bytes(export(RECORDS, "coco", FILES))
    coco = COCO(file)
    assert sorted(image["file_name"] for image in coco.imgs.values()) == [
        "pack_1.jpg",
        "pack_6.jpg",
    ]
    [annotation] = coco.anns.values()
    assert annotation["bbox"] == [54.0, 72.0, 216.0, 288.0]
    assert annotation["score"] == 0.9
    for name in ("pack_1.jpg", "pack_6.jpg"):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())
    rows = load_split(file)
    assert rows["xyxy"][:] == [[BOX["xyxy"]], []]


def test_yolo_has_a_file_per_photo_and_an_empty_one_for_a_photo_without_a_table():
    files = members(export(RECORDS, "yolo", FILES))
    assert files["labels/pack_1.txt"] == b"0 0.300000 0.300000 0.400000 0.400000\n"
    assert files["labels/pack_6.txt"] == b""
    assert b"0: nutrition-table\n" in files["data.yaml"]
    assert "labels/broken.txt" not in files


def test_csv_has_a_line_per_box_and_one_for_a_photo_without_any():
    lines = export(RECORDS, "csv", FILES).decode().splitlines()
    assert lines[0] == "photo,label,confidence,x0,y0,x1,y1"
    assert lines[1] == "pack_1.jpg,nutrition-table,0.9,54.0,72.0,270.0,360.0"
    assert lines[2:] == ["pack_6.jpg,,,,,,", "broken.jpg,,,,,,"]


def test_json_lines_are_those_of_the_command():
    lines = export(RECORDS, "jsonl", FILES).decode().splitlines()
    assert [json.loads(line) for line in lines] == RECORDS


def test_crops_hold_the_table_and_a_margin():
    from PIL import Image

    [(name, content)] = members(export(RECORDS, "crops", FILES)).items()
    assert name == "pack_1_table_1.jpg"
    width, height = Image.open(io.BytesIO(content)).size
    assert 216 < width < 240
    assert 288 < height < 320


def test_a_name_cannot_leave_the_archive():
    record = RECORDS[0] | {"photo": "../../etc/pack.jpg"}
    assert set(members(export([record], "yolo", {}))) == {"data.yaml", "labels/etc/pack.txt"}


TWO = [RECORDS[0] | {"photo": name} for name in ("a/pack.jpg", "a/pack.png")]


def test_rows_of_a_table_have_files_of_their_own():
    rows = [RECORDS[n] | {"photo": f"/packs.parquet#{n}"} for n in range(2)]
    files = members(export(rows, "yolo", {}))
    assert len(files["labels/packs.parquet#0.txt"].splitlines()) == 1
    assert files["labels/packs.parquet#1.txt"] == b""


def test_two_photos_of_one_stem_keep_their_crops():
    photos = {record["photo"]: EXAMPLES / "pack_1.jpg" for record in TWO}
    assert list(members(export(TWO, "crops", photos))) == [
        "a/pack_table_1.jpg",
        "a/pack-2_table_1.jpg",
    ]


def test_two_photos_of_one_stem_share_a_yolo_file_only_where_it_is_right_for_both():
    assert set(members(export(TWO, "yolo", {}))) == {"data.yaml", "labels/a/pack.txt"}
    other = [TWO[0], TWO[1] | {"boxes": []}]
    with pytest.raises(
        ValueError, match=r"a/pack\.png and another photo have one labels/a/pack\.t"
    ):
        export(other, "yolo", {})


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco", "yolo", "crops"])
def test_a_photo_whose_name_is_no_text_is_exported_too(form):
    name = os.fsdecode(b"latin\xe9.jpg")
    photos = {name: EXAMPLES / "pack_1.jpg"}
    content = export([RECORDS[0] | {"photo": name}], form, photos)
    text = " ".join(members(content)) if form in ("yolo", "crops") else content.decode()
    assert "latin\\udce9" in text


def test_the_command_writes_what_the_page_downloads(tmp_path, capsys):
    answers, out = tmp_path / "answers.jsonl", tmp_path / "boxes.json"
    answers.write_bytes(export(RECORDS, "jsonl", FILES))
    assert main([str(answers), str(out), "--to", "coco"]) == 0
    assert capsys.readouterr().out == f"{out}: 2 photos, 1 without an answer\n"
    assert out.read_bytes() == export(RECORDS, "coco", FILES)
    assert main([str(tmp_path / "none.jsonl"), str(out)]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_a_line_that_a_killed_command_cut_short_is_counted(tmp_path, capsys, caplog):
    answers, out = tmp_path / "answers.jsonl", tmp_path / "boxes.json"
    lines = export(RECORDS, "jsonl", FILES)
    answers.write_bytes(lines[:-20])
    assert main([str(answers), str(out)]) == 1
    assert "2 photos, 0 without an answer" in capsys.readouterr().out
    assert "1 entries are not exported" in caplog.text and "line 3: not JSON" in caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("photo,label\na.jpg,table\n", "holds no answer: .*line 1: not JSON"),
        ("[1, 2]\n", r"entry 1: expected a photo with boxes .* got \[1, 2\]"),
        ('{"image": "a.jpg", "boxes": []}\n', "entry 1: expected a photo"),
        ('{"photo": "a.jpg", "boxes": []}\n', "entry 1: expected a photo"),
        (json.dumps(RECORDS[0] | {"boxes": [BOX | {"xyxy": [1, 2]}]}), "entry 1: expected a photo"),
        (json.dumps(RECORDS[0] | {"boxes": [BOX | {"label": "x"}]}), "entry 1: expected a photo"),
    ],
)
def test_a_file_of_no_answers_is_refused_and_nothing_written(text, reason, tmp_path, capsys):
    (tmp_path / "answers.jsonl").write_text(text)
    assert main([str(tmp_path / "answers.jsonl"), str(tmp_path / "boxes.json")]) == 2
    assert re.search(reason, capsys.readouterr().err)
    assert not (tmp_path / "boxes.json").exists()


@pytest.mark.parametrize("quarters", range(5))
def test_a_crop_turns_clockwise(quarters):
    from PIL import Image

    from nutrition_vl.looks.crops import turned

    picture = Image.new("RGB", (40, 20), "white")
    picture.putpixel((0, 0), (0, 0, 0))
    corner = {0: (0, 0), 1: (19, 0), 2: (39, 19), 3: (0, 39)}[quarters % 4]
    assert turned(picture, quarters).getpixel(corner) == (0, 0, 0)


def test_the_margin_is_the_largest_share_that_a_box_lacks():
    boxes = np.array([[10.0, 10, 110, 60], [0, 0, 100, 100]])
    tables = np.array([[5.0, 10, 110, 70], [10, 10, 90, 90]])  # 5 of 100 left, 10 of 50 below; none
    assert margins_needed(boxes, tables).tolist() == [0.2, 0.0]
