"""Every source becomes the same rows: the same two photos, written in each format by hand."""

import io
import json
import os
from pathlib import Path

import datasets
import numpy as np
import pandas
import pytest
from PIL import Image

from nutrition_vl.boxes import EXAMPLE, LABELS
from nutrition_vl.data.load import FEATURES, Photo, load_split, truth

SHARED = Path(__file__).parents[3].parent / "shared"
TABLE, TEXT, *_ = LABELS
# One photo of 200 x 100 with two boxes, one of 60 x 80 without any.
BOXES = [[20, 10, 120, 60], [130, 50, 190, 90]]
OFFICIAL = {
    "bbox": [[0.1, 0.1, 0.6, 0.6], [0.5, 0.65, 0.9, 0.95]],  # y_min, x_min, y_max, x_max
    "category_id": [0, 1],
    "category_name": [TABLE, TEXT],
}
NONE = {"bbox": [], "category_id": [], "category_name": []}


@pytest.fixture(autouse=True)
def _no_cache_in_the_home(tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)


def write_photos(folder):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100), "red").save(folder / "a.jpg")
    Image.new("RGB", (60, 80), "blue").save(folder / "b.png")


def write_lines(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def metadata(folder, objects=OFFICIAL, **more):
    write_photos(folder / "images")
    rows = [("a.jpg", objects), ("b.png", NONE)]
    rows = [{"file_name": f"images/{name}", "objects": found} | more for name, found in rows]
    write_lines(folder / "metadata.jsonl", rows)
    return folder


def coco(folder, photos="images"):
    write_photos(folder / photos)
    images = [
        {"id": 7, "file_name": "a.jpg", "width": 200, "height": 100},
        {"id": 8, "file_name": "b.png", "width": 60, "height": 80},
    ]
    boxes = [(3, [20, 10, 100, 50]), (5, [130, 50, 60, 40])]  # x, y, width, height
    content = {
        "images": images,
        "categories": [{"id": i, "name": name} for i, name in [(1, "food"), (3, TABLE), (5, TEXT)]],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": category, "bbox": box}
            for i, (category, box) in enumerate(boxes)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def yolo(folder, config="path: .\nval: images/val\n", photos="images/val", labels="labels/val"):
    write_photos(folder / photos)
    (folder / labels).mkdir(parents=True)
    # class, centre x, centre y, width, height
    (folder / labels / "a.txt").write_text("0 0.35 0.35 0.5 0.5\n1 0.8 0.7 0.3 0.4\n")
    (folder / labels / "b.txt").write_text("")
    (folder / "data.yaml").write_text(f"{config}names: [{TABLE}, {TEXT}]\n")
    return folder


def voc(folder, annotations="Annotations", photos="JPEGImages"):
    write_photos(folder / photos)
    (folder / annotations).mkdir(exist_ok=True)
    # Pixels count from 1, both ends included.
    found = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, (x0, y0, x1, y1) in zip((TABLE, TEXT), BOXES, strict=True)
    )
    for name, objects in (("a.jpg", found), ("b.png", "")):
        xml = f"<annotation><filename>{name}</filename>{objects}</annotation>"
        (folder / annotations / name).with_suffix(".xml").write_text(xml)
    return folder


ANSWER = (
    f"<|object_ref_start|>{TABLE}<|object_ref_end|><|box_start|>(100,100),(600,600)<|box_end|>"
    f"<|object_ref_start|>{TEXT}<|object_ref_end|><|box_start|>(650,500),(950,900)<|box_end|>"
)


def llava(folder, answer=ANSWER):
    write_photos(folder / "photos")
    said = [("photos/a.jpg", answer), ("photos/b.png", "")]
    entries = [
        {
            "image": image,
            "conversations": [
                {"from": "human", "value": f"<image>\nBox it like {EXAMPLE}"},
                {"from": "gpt", "value": text},
            ],
        }
        for image, text in said
    ]
    (folder / "qa.json").write_text(json.dumps(entries))
    return folder / "qa.json"


def messages_(folder):
    entries = json.loads(llava(folder).read_text())
    rows = [
        {
            "image": entry["image"],
            "messages": [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": EXAMPLE}]},
                {"role": "assistant", "content": [{"type": "text", "text": answer["value"]}]},
            ],
        }
        for entry in entries
        for answer in entry["conversations"][1:]
    ]
    write_lines(folder / "qa.jsonl", rows)
    return folder / "qa.jsonl"


def parquet(folder, name="rows.parquet", **more):
    write_photos(folder)
    rows = [("a", "a.jpg", OFFICIAL), ("b", "b.png", NONE)]
    table = datasets.Dataset.from_list(
        [
            {
                "image_id": key,
                "image": {"bytes": (folder / photo).read_bytes(), "path": photo},
                "objects": found,
            }
            | more
            for key, photo, found in rows
        ]
    )
    table.to_parquet(folder / name)
    return folder / name


def in_folder(write, **more):
    return lambda folder: write(folder, **more).parent


SOURCES = {
    "metadata": metadata,
    "metadata with the split asked for": lambda folder: metadata(folder, split="val"),
    "metadata of one split a folder": lambda folder: metadata(folder / "val").parent,
    "the metadata file itself": lambda folder: metadata(folder) / "metadata.jsonl",
    "coco": coco,
    "coco beside its photos": lambda folder: coco(folder, photos="."),
    "yolo": yolo,
    "yolo without splits": lambda folder: yolo(folder, "", "images", "labels"),
    "yolo from roboflow": lambda folder: yolo(
        folder, "train: ../train/images\nval: ../valid/images\n", "valid/images", "valid/labels"
    ),
    "voc": voc,
    "voc in one folder": lambda folder: voc(folder, ".", "."),
    "conversations": llava,
    "messages": messages_,
    "parquet": parquet,
    "parquet of a split": in_folder(parquet, name="val-00000-of-00001.parquet"),
    "parquet with a split column": lambda folder: parquet(folder, split="val"),
}


@pytest.mark.parametrize("write", SOURCES.values(), ids=SOURCES)
def test_every_format_gives_the_same_rows(write, tmp_path, caplog):
    rows = load_split(write(tmp_path), "val")
    assert list(rows["id"]) == ["a", "b"]
    assert list(zip(rows["width"], rows["height"], strict=True)) == [(200, 100), (60, 80)]
    np.testing.assert_allclose(rows[0]["xyxy"], BOXES, atol=1e-4)
    assert (rows[0]["label"], rows[1]["xyxy"], rows[1]["label"]) == ([TABLE, TEXT], [], [])
    assert [(row["image"].mode, row["image"].size) for row in rows] == [
        ("RGB", (200, 100)),
        ("RGB", (60, 80)),
    ]
    assert rows.features == FEATURES
    assert isinstance(rows.features["image"], Photo)
    assert truth(rows[0]).class_id.tolist() == [0, 1]
    assert len(truth(rows[1])) == 0
    assert len(load_split(write(tmp_path / "again"), "val", limit=1)) == 1
    messages = {record.getMessage().partition(": ")[2] for record in caplog.records}
    assert messages <= {"its questions are replaced by the prompt of detection"}
    assert bool(messages) == (write in (llava, messages_))


@pytest.mark.parametrize("write", [metadata, parquet])
def test_rows_are_upright_and_boxes_belong_to_the_upright_photo(write, tmp_path):
    source = write(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored 200 x 100, shown 100 x 200
    turned = io.BytesIO()
    Image.new("RGB", (200, 100), "red").save(turned, "JPEG", exif=exif)
    if write is metadata:
        (source / "images/a.jpg").write_bytes(turned.getvalue())
    else:
        image = {"bytes": turned.getvalue(), "path": "a.jpg"}
        row = {"image_id": "a", "image": image, "objects": OFFICIAL}
        datasets.Dataset.from_list([row]).to_parquet(source)
    row = load_split(source)[0]
    assert (row["width"], row["height"], row["image"].size) == (100, 200, (100, 200))
    np.testing.assert_allclose(row["xyxy"][0], [10, 20, 60, 120], atol=1e-4)


def spoil(source):
    """Makes the second photo one whose header already cannot be read."""
    if source.suffix != ".parquet":
        for photo in source.parent.rglob("b.png"):
            photo.write_bytes(b"no photo at all")
        return
    table = pandas.read_parquet(source)
    table.at[1, "image"] = {"bytes": b"no photo at all", "path": "b.png"}
    table.to_parquet(source)


@pytest.mark.parametrize("write", [SOURCES["the metadata file itself"], coco, llava, parquet])
def test_a_photo_that_cannot_be_read_is_left_out_where_that_is_wanted(write, tmp_path):
    source = write(tmp_path)
    spoil(source)
    with pytest.raises(ValueError, match=r"b\.png"):
        load_split(source)
    skipped = []
    rows = load_split(source, skipped=skipped)
    assert rows["id"] == ["a"] and rows[0]["image"].size == (200, 100)
    (left_out,) = skipped
    assert left_out.id in ("b", "images/b.png") and "b.png" in left_out.error


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("{", "line 3"),
        (json.dumps({"file_name": "images/a.jpg"}), "images/a.jpg"),
        (
            json.dumps(
                {"file_name": "images/a.jpg", "objects": {"bbox": [[0, 1]], "category_name": ["x"]}}
            ),
            "images/a.jpg",
        ),
    ],
    ids=["no JSON", "no objects", "half a box"],
)
def test_a_row_that_cannot_be_read_is_left_out_where_that_is_wanted(line, name, tmp_path):
    file = metadata(tmp_path) / "metadata.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"metadata\.jsonl"):
        load_split(tmp_path)
    skipped = []
    assert len(load_split(tmp_path, skipped=skipped)) == 2
    assert [row.id for row in skipped] == [name]


def test_photos_are_decoded_on_access_and_mapping_keeps_them(tmp_path):
    folder = metadata(tmp_path)
    Image.new("RGBA", (60, 80), (0, 0, 255, 0)).save(folder / "images/b.png")
    rows = load_split(folder).map(lambda row: {"boxes": len(row["xyxy"])})
    assert list(rows["boxes"]) == [2, 0]
    assert rows[1]["image"].getpixel((5, 5)) == (255, 255, 255)
    (folder / "images/b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.png is not a photo"):
        rows[1]


def test_the_second_photo_of_a_name_gets_its_own_id(tmp_path):
    source = llava(tmp_path)
    source.write_text(json.dumps(json.loads(source.read_text()) * 2))
    rows = load_split(source)
    assert list(rows["id"]) == ["a", "b", "a-2", "b-2"]
    assert rows[2]["image"].size == (200, 100)


def test_a_photo_whose_name_is_no_text_is_left_out_and_named(tmp_path):
    name = os.fsdecode(b"lat\xe9.jpg")
    for photo in (name, "a.jpg"):
        Image.new("RGB", (200, 100)).save(tmp_path / photo)
    rows = [{"file_name": photo, "objects": None} for photo in (name, "a.jpg")]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    skipped = []
    assert load_split(tmp_path, "train", skipped=skipped)["id"][:] == ["a"]
    (entry,) = skipped
    assert r"lat\udce9.jpg has a name that is not UTF-8" in entry.error
    assert entry.error.endswith("rename it") and entry.error.isascii()


def test_boxes_are_clipped_to_the_photo_and_corners_put_in_order(tmp_path):
    boxes = [[-0.2, 0.5, 0.5, 1.5], [0.9, 0.9, 0.1, 0.1]]
    row = load_split(metadata(tmp_path, {"bbox": boxes, "category_name": [TABLE, TEXT]}))[0]
    np.testing.assert_allclose(row["xyxy"], [[100, 0, 200, 50], [20, 10, 180, 90]], atol=1e-4)
    assert row["label"] == [TABLE, TEXT]


def test_a_photo_whose_answer_is_cut_off_is_left_out_and_named(tmp_path):
    source, skipped = llava(tmp_path, f"{ANSWER}<|box_start|>(12"), []
    with pytest.raises(ValueError, match=r"photos/a\.jpg: a box is cut off"):
        load_split(source)
    source.write_text(
        source.read_text().replace(
            '"value": ""', json.dumps(ANSWER)[1:-1].join(['"value": "', '"'])
        )
    )
    assert load_split(source, skipped=skipped)["id"] == ["b"]
    assert [(row.id, "cut off" in row.error) for row in skipped] == [("photos/a.jpg", True)]


@pytest.mark.parametrize(
    "box", [[0.2, 1.1, 0.4, 1.3], [0.5, 0.5, 0.5, 0.6], [0.1, 0.1, float("nan"), 0.6]]
)
def test_a_row_with_a_box_without_area_is_left_out_and_named(box, tmp_path):
    objects = {"bbox": [OFFICIAL["bbox"][0], box], "category_name": [TABLE, TABLE]}
    source = metadata(tmp_path, objects)
    with pytest.raises(ValueError, match="a: "):
        load_split(source)
    skipped = []
    assert load_split(source, skipped=skipped)["id"] == ["b"]
    assert [row.id for row in skipped] in (["a"], ["images/a.jpg"])


@pytest.mark.parametrize("write", [metadata, parquet])
def test_a_correction_saves_a_photo_with_a_bad_box(write, tmp_path):
    objects = {"bbox": [[0.5, 0.5, 0.5, 0.6]], "category_name": [TABLE]}
    source = metadata(tmp_path, objects)
    if write is parquet:
        source = parquet(tmp_path)
        table = pandas.read_parquet(source)
        table.at[0, "objects"] = objects
        table.to_parquet(source)
    with pytest.raises(ValueError, match="no area"):
        load_split(source)
    file = tmp_path / "corrections.jsonl"
    write_lines(file, [{"id": "a", "split": "val", "xyxy": [BOXES[0]], "label": [TABLE]}])
    rows = load_split(source, corrections=file)
    assert (list(rows["id"]), rows[0]["xyxy"], rows[0]["label"]) == (["a", "b"], BOXES[:1], [TABLE])


def test_an_only_class_is_the_nutrition_table_whatever_its_name(tmp_path, caplog):
    objects = OFFICIAL | {"category_name": ["tableau", "tableau"]}
    assert load_split(metadata(tmp_path, objects))[0]["label"] == [TABLE, TABLE]
    assert "reading its one label tableau as nutrition-table" in caplog.text


def test_the_real_photos():
    if not (SHARED / "data" / "real").exists():
        pytest.skip("the real photos are not beside this checkout")
    dev, off = (load_split(SHARED / "data" / "real", split) for split in ("dev", "off"))
    assert (len(dev), len(off)) == (100, 17)
    boxes = [len(found) for rows in (dev, off) for found in rows["xyxy"]]
    assert (sum(boxes), boxes.count(0)) == (106, 13)
