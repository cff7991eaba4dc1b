"""Any labelled set reads back the same from every format, and damage never changes a box unsaid."""

import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nutrition_vl.boxes import LABELS
from nutrition_vl.data.load import load_split
from tests.helpers.label_sets import photo, read, write

SIDES = (200, 100)


@st.composite
def boxes(draw):
    """A box in whole pixels of SIDES, at least 2 wide and high."""
    x0, y0 = (draw(st.integers(0, side - 2)) for side in SIDES)
    x1, y1 = (draw(st.integers(low + 2, side)) for low, side in zip((x0, y0), SIDES, strict=True))
    return [x0, y0, x1, y1], draw(st.sampled_from(LABELS))


# Each box once: a conversation that repeats an answer means one table.
SETS = st.lists(st.lists(boxes(), max_size=3, unique_by=str), min_size=1, max_size=4).filter(any)


def as_coco(folder, photos):
    images = [
        {"id": at, "file_name": f"{at}.jpg", "width": SIDES[0], "height": SIDES[1]}
        for at in range(len(photos))
    ]
    marks = [
        {"image_id": at, "category_id": LABELS.index(name), "bbox": [x, y, x1 - x, y1 - y]}
        for at, own in enumerate(photos)
        for (x, y, x1, y1), name in own
    ]
    names = [{"id": at, "name": name} for at, name in enumerate(LABELS)]
    return write(folder / "c.json", {"images": images, "annotations": marks, "categories": names})


def as_yolo(folder, photos):
    for at, own in enumerate(photos):
        lines = [
            f"{LABELS.index(name)} {(x0 + x1) / 400!r} {(y0 + y1) / 200!r} {(x1 - x0) / 200!r} "
            f"{(y1 - y0) / 100!r}\n"
            for (x0, y0, x1, y1), name in own
        ]
        write(folder / f"{at}.txt", "".join(lines))
    write(folder / "data.yaml", f"val: .\nnames: {json.dumps(LABELS)}\n")
    return folder


def as_voc(folder, photos):
    for at, own in enumerate(photos):
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), name in own
        )
        head = f"<filename>{at}.jpg</filename><size><width>200</width><height>100</height></size>"
        write(folder / f"{at}.xml", f"<annotation>{head}{objects}</annotation>")
    return folder


def as_label_studio(folder, photos):
    def result(box, name):
        x0, y0, x1, y1 = box
        value = {"x": x0 / 2, "y": y0, "width": (x1 - x0) / 2, "height": y1 - y0}
        return {
            "value": value | {"rectanglelabels": [name]},
            "original_width": SIDES[0],
            "original_height": SIDES[1],
        }

    tasks = [
        {"data": {"image": f"{at}.jpg"}, "annotations": [{"result": [result(*one) for one in own]}]}
        for at, own in enumerate(photos)
    ]
    return write(folder / "p.json", tasks)


def as_metadata(folder, photos):
    rows = [
        {
            "file_name": f"{at}.jpg",
            "objects": {
                "bbox": [[y0 / 100, x0 / 200, y1 / 100, x1 / 200] for (x0, y0, x1, y1), _ in own],
                "category_name": [name for _, name in own],
            },
        }
        for at, own in enumerate(photos)
    ]
    write(folder / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def as_conversations(folder, photos):
    def text(own):
        return "".join(
            f"<|object_ref_start|>{name}<|object_ref_end|><|box_start|>"
            f"({5 * x0},{10 * y0}),({5 * x1},{10 * y1})<|box_end|>"
            for (x0, y0, x1, y1), name in own
        )

    turns = [{"role": "user", "content": "<image>Where?"}]
    rows = [
        {"image": f"{at}.jpg", "messages": [*turns, {"role": "assistant", "content": text(own)}]}
        for at, own in enumerate(photos)
    ]
    return write(folder / "q.json", rows)


OWN = {"coco": as_coco, "voc": as_voc, "yolo": as_yolo, "label studio": as_label_studio}
ALL = OWN | {"metadata": as_metadata, "conversations": as_conversations}


def make(label, folder, photos):
    for at in range(len(photos)):
        photo(folder / f"{at}.jpg")
    return label(folder, photos)


@pytest.mark.parametrize("label", ALL.values(), ids=ALL)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(photos=SETS)
def test_a_set_reads_back_the_same(label, photos):
    with tempfile.TemporaryDirectory() as folder:
        rows = load_split(make(label, Path(folder), photos))
        for at, own in enumerate(photos):
            row = rows[list(rows["id"]).index(str(at))]
            got = [([round(x, 2) for x in box], name) for box, name in _pairs(row)]
            assert sorted(got) == sorted((list(map(float, box)), name) for box, name in own)


def _pairs(row):
    return zip(row["xyxy"], row["label"], strict=True)


PHOTOS = [
    [([20, 10, 120, 60], LABELS[0])],
    [([30, 20, 70, 70], LABELS[0])],
    [([5, 5, 90, 90], LABELS[0])],
]


def damaged(data, rng):
    """The bytes with a bit flipped, some dropped or repeated, or a word replaced; no digit alone.

    A digit that turns into another makes another valid file, which no reader can notice.
    """
    at, data = rng.randrange(len(data)), bytearray(data)
    words = [b"null", b"[]", b"{}", b'""', b"-", b"1e999", b"NaN", b"true", b"\n", b"\xff"]
    length = rng.randrange(1, 8)
    change = {
        "flip": bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 : at + length],
        "drop": b"",
        "repeat": data[at : at + length] * 2,
        "word": rng.choice(words),
    }[rng.choice(["flip", "drop", "repeat", "word"])]
    old = bytes(data[at : at + length])
    if set(old + change) & set(b"0123456789."):
        return None
    data[at : at + length] = change
    return bytes(data)


@pytest.mark.parametrize("label", OWN.values(), ids=OWN)
def test_damage_is_named_or_refused_and_changes_no_box(label, tmp_path):
    source, rng = make(label, tmp_path, PHOTOS), random.Random(7)
    whole, skipped = read(source)
    assert len(whole) == 3 and not skipped
    files = [file for file in sorted(tmp_path.iterdir()) if file.suffix != ".jpg"]
    for _ in range(150):
        file = rng.choice(files)
        before = file.read_bytes()
        if (after := damaged(before, rng)) is None:
            continue
        file.write_bytes(after)
        try:
            boxes, skipped = read(source)
            assert all(whole[name] == own for name, own in boxes.items()), after
            assert boxes == whole or skipped, after
        except (ValueError, FileNotFoundError) as error:
            assert tmp_path.name in str(error) and "\n" not in str(error), after
        file.write_bytes(before)
