"""Rows of metadata.jsonl and parquet: every split's own, every class, every box or its name."""

import json

import datasets
import pytest
from PIL import Image

from nutrition_vl.boxes import LABELS
from nutrition_vl.data import load_split

TABLE = LABELS[0]
BOX = [0.1, 0.1, 0.6, 0.6]  # y_min, x_min, y_max, x_max: 20, 10, 120, 60 of 200 x 100


@pytest.fixture(autouse=True)
def _no_cache_in_the_home(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def objects(*names, boxes=None):
    return {"bbox": boxes or [BOX] * len(names), "category_name": list(names)}


def metadata(folder, rows, name="metadata.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (found, more) in enumerate(rows):
        Image.new("RGB", (200, 100)).save(folder / f"{number}.jpg")
        lines.append(json.dumps({"file_name": f"{number}.jpg", "objects": found} | more) + "\n")
    (folder / name).write_text("".join(lines))
    return folder


def parquet(file, *names, **more):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100)).save(file.parent / "a.jpg")
    image = {"bytes": (file.parent / "a.jpg").read_bytes(), "path": "a.jpg"}
    rows = [{"image_id": name, "image": image, "objects": objects(name)} | more for name in names]
    datasets.Dataset.from_list(rows).to_parquet(file)
    return file


XYWH = [0.5, 0.6, 0.2, 0.1]  # a box of 100, 60, 140, 70 as x, y, width, height


@pytest.mark.parametrize("boxes", [[XYWH], [BOX] * 18 + [XYWH]], ids=["all", "one in 19"])
@pytest.mark.parametrize("form", ["metadata", "parquet"])
def test_boxes_of_x_y_width_height_are_no_corners(form, boxes, tmp_path):
    found = objects(*[TABLE] * len(boxes), boxes=boxes)
    metadata(tmp_path, [(found, {"split": "val"})])
    source = tmp_path
    if form == "parquet":
        source = parquet(tmp_path / "val.parquet", TABLE, objects=found)
    count = f"1 of {len(boxes)} boxes end before they begin"
    with pytest.raises(ValueError, match=rf"{count}.*\[y_min, x_min, y_max, x_max\]"):
        load_split(source, "val", skipped=[])


@pytest.mark.parametrize("before", ["", "photos/", "/home/me/packs/", "s3://packs/2026/"])
def test_parquet_may_hold_the_paths_of_photos_next_to_it(before, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (60, 80)).save(elsewhere / "a.jpg")
    monkeypatch.chdir(elsewhere)
    photo = tmp_path / "set" / (before if before == "photos/" else "") / "a.jpg"
    photo.parent.mkdir(parents=True)
    Image.new("RGB", (200, 100)).save(photo)
    rows = [{"image": f"{before}a.jpg", "objects": objects(TABLE)}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "set" / "val.parquet")
    (row,) = load_split(tmp_path / "set" / "val.parquet", "val")
    assert row["image"].size == (200, 100)
    assert row["xyxy"] == [pytest.approx([20, 10, 120, 60])]


def labels(source, split="val", **options):
    return list(load_split(source, split, **options)["label"])


@pytest.mark.parametrize(
    "rows",
    [
        [(objects("barcode"), {"split": "val"}), (objects(TABLE, "barcode"), {"split": "train"})],
        [(objects("barcode", TABLE), {}), (objects("barcode"), {})],
    ],
    ids=["declared by another split", "in the same split"],
)
def test_another_class_in_metadata_is_no_table(rows, tmp_path, caplog):
    folder = metadata(tmp_path, rows)
    with pytest.raises(ValueError, match=r"has the labels barcode, nutrition-table.*--label NAME"):
        labels(folder)
    assert all(name == TABLE for names in labels(folder, label=TABLE) for name in names)
    assert "left out the boxes of other classes: " in caplog.text
    assert labels(folder, label="barcode")[0][0] == TABLE


def test_another_class_in_the_folder_of_another_split_is_no_table(tmp_path):
    metadata(tmp_path / "train", [(objects(TABLE), {})])
    metadata(tmp_path / "val", [(objects("barcode"), {})])
    with pytest.raises(ValueError, match="has the labels barcode, nutrition-table"):
        labels(tmp_path)


@pytest.mark.parametrize("names", [["a", "b"], ["train", "val"]], ids=["column", "files"])
def test_another_class_in_parquet_is_no_table(names, tmp_path):
    parquet(tmp_path / f"{names[0]}.parquet", TABLE, split="train")
    parquet(tmp_path / f"{names[1]}.parquet", "barcode", split="val")
    with pytest.raises(ValueError, match="has the labels barcode, nutrition-table"):
        labels(tmp_path)
    assert labels(tmp_path, label=TABLE) == [[]]
    assert labels(tmp_path, "train") == [[TABLE]]


@pytest.mark.parametrize(
    "names",
    [
        ("train.parquet", "validation.parquet"),
        ("default/train/0000.parquet", "default/val/0000.parquet"),
        ("data/train-00000-of-00001.parquet", "data/valid-00000-of-00001.parquet"),
    ],
)
def test_files_of_parquet_are_read_for_their_split_only(names, tmp_path):
    for name, label in zip(names, LABELS, strict=False):
        parquet(tmp_path / name, label)
    assert (labels(tmp_path, "train"), labels(tmp_path)) == ([[LABELS[0]]], [[LABELS[1]]])
    with pytest.raises(ValueError, match="has no split 'test'"):
        labels(tmp_path, "test")
    parquet(tmp_path / "more.parquet", TABLE)
    with pytest.raises(ValueError, match=r"more\.parquet names no split"):
        labels(tmp_path)


@pytest.mark.parametrize(
    "box",
    [
        [0.1, 0.1, float("nan"), 0.6],
        [0.1, 0.1, True, 0.6],
        [0.1, 0.1, "0.6", 0.6],
        [0.1, 0.3, 0.6, 0.3],
        [1.1, 0.1, 1.2, 0.6],
        [10, 10, 60, 60],
    ],
)
def test_a_row_with_a_malformed_box_is_left_out_and_named(box, tmp_path):
    bad = objects(TABLE, TABLE, boxes=[BOX, box])
    folder, skipped = metadata(tmp_path, [(bad, {}), (objects(TABLE), {})]), []
    rows = load_split(folder, "train", skipped=skipped)
    assert rows["id"] == ["1"] and len(rows[0]["xyxy"]) == 1
    assert [row.id in ("0", "0.jpg") and "metadata.jsonl, 0" in row.error for row in skipped] == [
        True
    ]


def test_a_row_without_a_split_among_others_is_named(tmp_path):
    rows = [(objects(TABLE), {"split": "valid"}), (objects(TABLE), {})]
    skipped = []
    assert load_split(metadata(tmp_path, rows), "val", skipped=skipped)["id"] == ["0"]
    assert "1.jpg: has no split" in skipped[0].error
