"""Label Studio's own JSON export."""

import pytest

from tests.helpers.label_sets import BOX, TABLE, photo, read, write


def box(label=TABLE, size=(200, 100), **more):
    """A rectangle at BOX, in percent."""
    value = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": [label]}
    sides = {"original_width": size[0], "original_height": size[1]} if size else {}
    return {"type": "rectanglelabels", "image_rotation": 0, "value": value | more} | sides


def task(name="/data/upload/1/0a1b2c3d-a.jpg", *results, **more):
    one = {"id": 5, "was_cancelled": False, "result": list(results)}
    return {"id": 1, "data": {"image": name}, "annotations": [one], "predictions": []} | more


@pytest.mark.parametrize(
    ("name", "lies"),
    [
        ("/data/upload/1/0a1b2c3d-a.jpg", "0a1b2c3d-a.jpg"),
        ("/data/upload/1/0a1b2c3d-a.jpg", "images/0a1b2c3d-a.jpg"),
        ("/data/upload/1/0a1b2c3d-a.jpg", "a.jpg"),
        ("/data/local-files/?d=photos/a%20b.jpg", "photos/a b.jpg"),
        ("/data/local-files/?d=D%3A%5Cphotos%5Ca.jpg", "a.jpg"),
        ("https://example.org/set/a.jpg?token=1", "a.jpg"),
        ("s3://bucket/set/a.jpg", "a.jpg"),
        ("a.jpg", "images/a.jpg"),
    ],
)
def test_photos_of_tasks(name, lies, tmp_path):
    photo(tmp_path / lies)
    boxes, skipped = read(write(tmp_path / "p.json", [task(name, box())]))
    assert (list(boxes.values()), skipped) == ([[BOX]], {})


def test_a_finished_task_without_boxes_is_a_photo_without_a_table(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    file = write(tmp_path / "p.json", [task("a.jpg", box()), task("b.jpg")])
    assert read(file) == ({"a": [BOX], "b": []}, {})


def test_choices_and_texts_are_no_boxes(tmp_path):
    photo(tmp_path / "a.jpg")
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    file = write(tmp_path / "p.json", [task("a.jpg", choice, box())])
    assert read(file) == ({"a": [BOX]}, {})


POLYGON = {"type": "polygonlabels", "value": {"points": [[1, 2], [3, 4]], "polygonlabels": [TABLE]}}
BRUSH = {"type": "brushlabels", "value": {"format": "rle", "rle": [1], "brushlabels": [TABLE]}}
BAD = [
    task("b.jpg", box(rotation=12.5)),
    task("b.jpg", box() | {"image_rotation": 90}),
    task("b.jpg", POLYGON),
    task("b.jpg", BRUSH),
    task("b.jpg", box(x=None)),
    task("b.jpg", box(x="10")),
    task("b.jpg", box(width=0)),
    task("b.jpg", box(width=-5)),
    task("b.jpg", {"type": "rectanglelabels", "valu": {}}),
    task("b.jpg", {"type": "rectanglelabels", "value": {"rectanglelabels": [TABLE]}}),
    task("b.jpg", None),
    task("b.jpg", box(rectanglelabels=[])),
    task("b.jpg", box(rectanglelabels=["a", "b"])),
    task("b.jpg", box(), box(size=(400, 200))),
    task("b.jpg", annotations=[]),
    task("b.jpg", annotations=None),
    task("b.jpg", annotations=[{"was_cancelled": True, "result": []}]),
    task("b.jpg", annotations=[{"result": [box()]}, {"result": []}]),
    task("b.jpg", annotations=[{"result": None}]),
    task("b.jpg", data={"text": "no photo"}),
    task("b.jpg", data={"one": "b.jpg", "two": "a.jpg"}),
    task("none.jpg", box()),
    None,
    {"id": 2, "data": 5, "annotations": []},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_one_bad_task_is_named_and_other_photos_stay(bad, tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    boxes, skipped = read(write(tmp_path / "p.json", [task("a.jpg", box()), bad]))
    assert boxes == {"a": [BOX]} and len(skipped) == 1


def test_relations_between_boxes_are_no_boxes(tmp_path):
    photo(tmp_path / "a.jpg")
    relation = {"type": "relation", "from_id": "x", "to_id": "y", "direction": "right"}
    file = write(tmp_path / "p.json", [task("a.jpg", relation, box())])
    assert read(file) == ({"a": [BOX]}, {})


def test_two_tasks_of_one_photo_are_named(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / name)
    tasks = [task("a.jpg", box()), task("/data/upload/2/0a1b2c3d-a.jpg"), task("b.jpg", box())]
    boxes, skipped = read(write(tmp_path / "p.json", tasks))
    assert boxes == {"b": [BOX]} and len(skipped) >= 1


def test_another_class_is_no_table(tmp_path):
    photo(tmp_path / "a.jpg")
    file = write(tmp_path / "p.json", [task("a.jpg", box(), box("barcode"))])
    with pytest.raises(ValueError, match=f"labels barcode, {TABLE}"):
        read(file)
    assert read(file, label=TABLE)[0] == {"a": [BOX]}
