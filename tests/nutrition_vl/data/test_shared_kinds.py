"""One rule for all formats: splits by folder, names of photos, repeated boxes, huge numbers."""

import json
import unicodedata

import pytest

from tests.helpers.label_sets import BOX, TABLE, coco, image, mark, photo, read, voc, write, yolo

ROW = {"bbox": [[0.1, 0.1, 0.6, 0.6]], "category_name": [TABLE]}
HALF = {"bbox": [[0.2, 0.2, 0.5, 0.5]], "category_name": [TABLE]}
ANSWER = f"<ref>{TABLE}</ref><box>(100,100),(600,600)</box>"


def metadata(folder, *rows):
    lines = [json.dumps({"file_name": name, "objects": objects}) for name, objects in rows]
    return write(folder / "metadata.jsonl", "\n".join(lines)).parent


def chats(folder, *entries):
    turns = [
        {"image": name, "messages": [{"role": "assistant", "content": answer}]}
        for name, answer in entries
    ]
    return write(folder / "q.json", turns)


def as_coco(folder, *names):
    images = [image(key, name) for key, name in enumerate(names)]
    return coco(folder, images, [mark(key) for key in range(len(names))])


def as_metadata(folder, *names):
    return metadata(folder, *((name, ROW) for name in names))


def as_chats(folder, *names):
    return chats(folder, *((name, ANSWER) for name in names))


@pytest.mark.parametrize("written", [as_coco, as_metadata, as_chats])
def test_folders_of_several_splits_are_the_splits(written, tmp_path):
    for name in ("val/a.jpg", "train/t.jpg"):
        photo(tmp_path / name)
    assert read(written(tmp_path, "val/a.jpg", "train/t.jpg"))[0] == {"a": [BOX]}
    assert read(written(tmp_path, "train/t.jpg"))[0] == {"t": [BOX]}


def test_images_that_name_a_split_are_of_that_split(tmp_path):
    images = [image(1, "a.jpg") | {"split": "val"}, image(2, "b.jpg") | {"split": "train"}]
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    assert read(coco(tmp_path, images, [mark(1), mark(2)])) == ({"a": [BOX]}, {})


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("a.JPG", "a.jpg"),
        ("Shop/A.jpg", "Shop/a.jpg"),
        ("x/a.jpg", "x\\a.jpg"),
        ("a.jpg", "https://bucket.example/set/a.jpg?signature=1"),
        (unicodedata.normalize("NFD", "K\u00e4se.jpg"), "K\u00e4se.jpg"),
    ],
)
@pytest.mark.parametrize("written", [as_coco, as_metadata])
def test_a_photo_has_the_name_that_another_system_gives_it(written, stored, named, tmp_path):
    photo(tmp_path / stored)
    ((_, boxes),) = read(written(tmp_path, named))[0].items()
    assert boxes == [BOX]


def test_two_photos_that_differ_in_case_are_not_confused(tmp_path):
    photo(tmp_path / "a.JPG"), photo(tmp_path / "A.jpg"), photo(tmp_path / "b.jpg")
    boxes, skipped = read(as_coco(tmp_path, "a.jpg", "b.jpg"))
    assert boxes == {"b": [BOX]} and "no photo" in skipped["a"]


def test_a_box_that_is_written_twice_is_one_table_and_counted(tmp_path, caplog):
    photo(tmp_path / "a.jpg")
    assert read(coco(tmp_path, marks=[mark(), mark()]))[0] == {"a": [BOX]}
    assert "left out repeated boxes of a photo: 1" in caplog.text
    line = "0 0.35 0.35 0.5 0.5\n"
    assert read(yolo(tmp_path / "yolo", line=2 * line))[0] == {"a": [BOX]}


def test_a_number_that_no_float_holds_is_named(tmp_path):
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    marks = [mark(1, (10**400, 1, 2, 3)), mark(2)]
    boxes, skipped = read(coco(tmp_path, [image(1, "a.jpg"), image(2, "b.jpg")], marks))
    assert boxes == {"b": [BOX]} and "four numbers" in skipped["a.jpg"]
    corrections = write(tmp_path / "c.jsonl", [])
    corrections.write_text(
        json.dumps({"id": "b", "xyxy": [[1, 1, 10**400, 9]], "label": [TABLE]}) + "\n"
    )
    with pytest.raises(ValueError, match=r"c\.jsonl, b: needs xyxy"):
        read(as_metadata(tmp_path / "set", "b.jpg"), corrections=corrections)


@pytest.mark.parametrize(
    "written",
    [
        lambda folder: metadata(folder, ("a.jpg", ROW), ("a.jpg", HALF), ("b.jpg", ROW)),
        lambda folder: chats(
            folder, ("a.jpg", ANSWER), ("a.jpg", ANSWER.replace("600", "900")), ("b.jpg", ANSWER)
        ),
    ],
)
def test_unlike_entries_of_one_photo_are_left_out(written, tmp_path):
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    boxes, skipped = read(written(tmp_path))
    assert boxes == {"b": [BOX]} and "several entries" in skipped["a"]


def test_a_photo_may_be_listed_twice_with_the_same_boxes(tmp_path):
    photo(tmp_path / "a.jpg")
    assert read(as_metadata(tmp_path, "a.jpg", "a.jpg")) == ({"a": [BOX], "a-2": [BOX]}, {})


def test_a_line_of_null_is_named(tmp_path):
    photo(tmp_path / "a.jpg")
    write(
        tmp_path / "metadata.jsonl", "null\n" + json.dumps({"file_name": "a.jpg", "objects": ROW})
    )
    boxes, skipped = read(tmp_path)
    assert boxes == {"a": [BOX]} and "got null" in skipped["line 1"]


@pytest.mark.parametrize("name", [None, "", ["x"]])
def test_a_category_without_a_name_is_no_table(name, tmp_path):
    photo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"c\.json: the category 1 has the name"):
        read(coco(tmp_path, names=(name,)))


def test_a_turned_box_is_named(tmp_path):
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    turned = [mark(1, attributes={"rotation": 30.0}), mark(2, attributes={"rotation": 0.0})]
    boxes, skipped = read(coco(tmp_path, [image(1, "a.jpg"), image(2, "b.jpg")], turned))
    assert boxes == {"b": [BOX]} and "turned by 30" in skipped["a.jpg"]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0.1, 0.1, 0.6, 0.6], "shares"),
        ([109, 59, 50, 30], "swapped corners or is x, y"),
        ([109, 19, 50, 60], "swapped corners or is x, y"),
    ],
)
def test_a_voc_box_of_another_convention_is_named(box, reason, tmp_path):
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    voc(tmp_path / "a.xml", box=box), voc(tmp_path / "b.xml", "b.jpg")
    text = (tmp_path / "a.xml").read_text().replace("1.1<", "0.1<")  # the helper counts from 1
    write(tmp_path / "a.xml", text)
    boxes, skipped = read(tmp_path)
    assert boxes == {"b": [BOX]} and reason in skipped["a.xml"]


def test_the_sets_of_a_voc_devkit_keep_their_splits(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        for name, split in ((f"{year}a", "val"), (f"{year}t", "train")):
            photo(tmp_path / year / f"JPEGImages/{name}.jpg")
            voc(tmp_path / year / f"Annotations/{name}.xml", f"{name}.jpg")
            write(tmp_path / year / f"ImageSets/Main/{split}.txt", f"{name}\n")
    assert set(read(tmp_path)[0]) == {"VOC2007a", "VOC2012a"}


@pytest.mark.parametrize("name", ["A.txt", "a.jpg.txt", "other.txt"])
def test_no_photo_is_a_background_while_yolo_labels_are_left_over(name, tmp_path):
    yolo(tmp_path)
    (tmp_path / "labels/val/a.txt").rename(tmp_path / "labels/val" / name)
    photo(tmp_path / "images/val/b.jpg")
    write(tmp_path / "labels/val/b.txt", "0 0.35 0.35 0.5 0.5\n")
    boxes, skipped = read(tmp_path)
    assert boxes == {"b": [BOX]} and set(skipped) == {"a.jpg", name}


def test_yolo_labels_of_another_split_are_not_left_over(tmp_path):
    for name in "atc":
        photo(tmp_path / f"images/{name}.jpg")
    for name in "at":
        write(tmp_path / f"labels/{name}.txt", "0 0.35 0.35 0.5 0.5\n")
    write(tmp_path / "val.txt", "images/a.jpg\nimages/c.jpg\n")
    write(tmp_path / "data.yaml", f"val: val.txt\nnames: [{TABLE}]\n")
    assert read(tmp_path) == ({"a": [BOX], "c": []}, {})


def test_yolo_corners_in_the_place_of_centres_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.yaml: boxes .* of a\) leave their photos"):
        read(yolo(tmp_path, line="0 0.6 0.6 0.95 0.9\n0 0.1 0.1 0.6 0.6\n"))
    inside = yolo(tmp_path / "b", line="0 0.9 0.9 0.3 0.3\n")  # a careless box that reaches out
    assert read(inside)[0] == {"a": [[150, 75, 200, 100]]}


def test_yolo_names_of_another_number_than_nc_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"names 1 classes and says nc: 3"):
        read(yolo(tmp_path, f"val: images/val\nnc: 3\nnames: [{TABLE}]\n"))


@pytest.mark.parametrize(
    "prose",
    [
        "I am not sure about the table here, it may be at the left.",
        "There is no doubt that the table is on the left.",
        "The nutrition table shows no added sugar label.",
        "Not one but two tables are visible.",
        "There is no table on the left, but one on the right.",
    ],
)
def test_prose_that_denies_something_else_is_no_photo_without_a_table(prose, tmp_path):
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    boxes, skipped = read(chats(tmp_path, ("a.jpg", ANSWER), ("b.jpg", prose)))
    assert boxes == {"a": [BOX]} and "holds no box" in skipped["b.jpg"]


@pytest.mark.parametrize(
    "prose",
    [
        "No table found.",
        "There is no nutrition-table.",
        "The image does not contain a nutrition facts label",
        "I cannot see any nutritional information panel here.",
        "No objects detected.",
        "It doesn't show a table",
    ],
)
def test_every_way_to_deny_a_table_is_a_photo_without_one(prose, tmp_path):
    photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    assert read(chats(tmp_path, ("a.jpg", ANSWER), ("b.jpg", prose)))[0] == {"a": [BOX], "b": []}
