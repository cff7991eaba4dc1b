"""Random sets come back from every format; damage gives a word or fewer boxes, never others.

Damage that only moves a number cannot be noticed, so bytes that make up numbers (digits, signs,
points and exponents) stay as they are, and no photo's name is one byte away from another's. A
format without a count of its boxes cannot notice a lost line either: fewer boxes may come back,
but only boxes that were written.
"""

import json
import string
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import Table, parquet

from nutrition_vl.boxes import LABELS, make_detections, to_text
from nutrition_vl.data import load_split

QUESTION = {"role": "user", "content": "Where?"}
SIZE = WIDTH, HEIGHT = 2000, 1000  # a step of the grid is whole pixels
NAMES = ("aaa", "bbb", "ccc")
NUMERIC = frozenset("0123456789+-.eE")
PRINTABLE = sorted({*string.printable} - NUMERIC)

side = st.integers(0, 1000)
box = st.tuples(side, side, side, side, st.sampled_from(LABELS)).filter(
    lambda one: one[0] + 10 < one[2] and one[1] + 10 < one[3]
)
photos = st.lists(st.lists(box, max_size=3, unique=True), min_size=1, max_size=3).filter(any)


def pixels(boxes):
    return [(2 * x0, y0, 2 * x1, y1) for x0, y0, x1, y1, _ in boxes]


def in_pixels(boxes):
    return [(*corners, one[4]) for corners, one in zip(pixels(boxes), boxes, strict=True)]


def objects(boxes):
    grid = [[y0 / 1000, x0 / 1000, y1 / 1000, x1 / 1000] for x0, y0, x1, y1, _ in boxes]
    return {"bbox": grid, "category_name": [label for *_, label in boxes]}


def metadata(folder, sets):
    rows = [
        {"file_name": f"{n}.png", "objects": objects(b)} for n, b in zip(NAMES, sets, strict=False)
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def parquets(folder, sets):
    rows = [
        {"image_id": name, "image": {"bytes": (folder / f"{name}.png").read_bytes(), "path": None},
         "objects": objects(boxes)}
        for name, boxes in zip(NAMES, sets, strict=False)
    ]  # fmt: skip
    parquet.write_table(Table.from_pylist(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


def coco(folder, sets):
    content = {
        "images": [
            {"id": 7 * n, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
            for n, (name, _) in enumerate(zip(NAMES, sets, strict=False))
        ],
        "annotations": [
            {"id": n, "image_id": 7 * photo, "category_id": 5 * LABELS.index(label),
             "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for photo, boxes in enumerate(sets)
            for n, (x0, y0, x1, y1, label) in enumerate(in_pixels(boxes))
        ],
        "categories": [{"id": 5 * n, "name": label} for n, label in enumerate(LABELS)],
    }  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(content, indent=1))
    return folder / "labels.json"


def yolo(folder, sets):
    for name, boxes in zip(NAMES, sets, strict=False):
        lines = [
            f"{LABELS.index(label)} {(x0 + x1) / 2000} {(y0 + y1) / 2000} "
            f"{(x1 - x0) / 1000} {(y1 - y0) / 1000}\n"
            for x0, y0, x1, y1, label in boxes
        ]
        (folder / f"{name}.txt").write_text("".join(lines))
    (folder / "photos.txt").write_text(
        "".join(f"{n}.png\n" for n, _ in zip(NAMES, sets, strict=False))
    )
    (folder / "data.yaml").write_text(f"train: photos.txt\nnames: {json.dumps(LABELS)}\n")
    return folder / "data.yaml"


def voc(folder, sets):
    for name, boxes in zip(NAMES, sets, strict=False):
        found = "".join(
            f"<object>\n<name>{label}</name>\n<bndbox>\n<xmin>{x0 + 1}</xmin>\n"
            f"<ymin>{y0 + 1}</ymin>\n<xmax>{x1}</xmax>\n<ymax>{y1}</ymax>\n</bndbox>\n</object>\n"
            for x0, y0, x1, y1, label in in_pixels(boxes)
        )
        size = f"<size>\n<width>{WIDTH}</width>\n<height>{HEIGHT}</height>\n</size>\n"
        text = f"<annotation>\n<filename>{name}.png</filename>\n{size}{found}</annotation>\n"
        (folder / f"{name}.xml").write_text(text)
    return folder


def chat(folder, name, answers):
    rows = [
        {"image": f"{n}.png", "width": WIDTH, "height": HEIGHT,
         "messages": [QUESTION, {"role": "assistant", "content": text}]}
        for n, text in zip(NAMES, answers, strict=False)
    ]  # fmt: skip
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def tokens(folder, sets):
    texts = [to_text(make_detections(pixels(s), [one[4] for one in s]), SIZE) for s in sets]
    return chat(folder, "tokens.jsonl", texts)


def bbox_2d(folder, sets):
    lists = [
        [{"bbox_2d": p, "label": b[4]} for p, b in zip(pixels(s), s, strict=True)] for s in sets
    ]
    return chat(folder, "bbox_2d.jsonl", [f"```json\n{json.dumps(one)}\n```" for one in lists])


TEXTS = [metadata, coco, yolo, voc, tokens, bbox_2d]
FORMATS = [*TEXTS, parquets]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of photos for each format; the text files in it are written for each example."""
    places = {}
    for write in FORMATS:
        places[write] = tmp_path_factory.mktemp(write.__name__)
        for name in NAMES:
            Image.new("1", SIZE).save(places[write] / f"{name}.png")
    return places


def fresh(folder):
    for file in folder.iterdir():
        if file.suffix != ".png":
            file.unlink()
    return folder


def read(source):
    """Boxes of each photo in whole pixels, and how many entries were skipped."""
    skipped = []
    rows = load_split(source, "train", skipped=skipped).remove_columns("image")
    boxes = {row["id"]: Counter(tuple(map(round, one)) for one in row["xyxy"]) for row in rows}
    return boxes, len(skipped)


def written(sets):
    return {name: Counter(pixels(boxes)) for name, boxes in zip(NAMES, sets, strict=False)}


quick = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
@quick
@given(sets=photos)
def test_a_random_set_comes_back_from_every_format(write, folders, sets):
    source = write(fresh(folders[write]), sets)
    rows = load_split(source, "train").remove_columns("image")
    assert read(source) == (written(sets), 0)
    labels = {row["id"]: Counter(row["label"]) for row in rows}
    named = [Counter(one[4] for one in boxes) for boxes in sets]
    assert labels == dict(zip(NAMES, named, strict=False))


@pytest.mark.parametrize("write", TEXTS, ids=lambda write: write.__name__)
@quick
@given(sets=photos, data=st.data())
def test_a_changed_byte_gives_the_same_boxes_or_a_word(write, folders, sets, data):
    source = write(fresh(folders[write]), sets)
    file, text = damaged(source, data)
    places = [at for at, one in enumerate(text) if one not in NUMERIC]
    at, new = data.draw(st.sampled_from(places)), data.draw(st.sampled_from(PRINTABLE))
    file.write_text(text[:at] + new + text[at + 1 :])
    compare(source, written(sets), lost_boxes=False)


@pytest.mark.parametrize("write", TEXTS, ids=lambda write: write.__name__)
@quick
@given(sets=photos, data=st.data())
def test_a_lost_line_gives_no_other_boxes(write, folders, sets, data):
    source = write(fresh(folders[write]), sets)
    file, text = damaged(source, data)
    lines = text.splitlines(keepends=True)
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    file.write_text("".join(lines))
    compare(source, written(sets), lost_boxes=True)


def damaged(source, data):
    """One of the text files of a set and what is in it."""
    folder = source if source.is_dir() else source.parent
    files = sorted(file for file in folder.iterdir() if file.suffix != ".png")
    files = [file for file in files if file.read_text()]
    file = data.draw(st.sampled_from(files))
    return file, file.read_text()


def compare(source, expected, lost_boxes):
    """The same boxes, or fewer with a named entry, or one sentence; never other boxes."""
    try:
        boxes, skipped = read(source)
    except (ValueError, FileNotFoundError) as error:
        assert str(error) and "\n" not in str(error)
        return
    for name, found in boxes.items():
        own = expected.get(name, Counter())  # a photo that no list names any more has none
        assert found <= own if lost_boxes or skipped else found == own
    assert lost_boxes or skipped or boxes.keys() >= expected.keys()
