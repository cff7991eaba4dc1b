"""YOLO sets as people have them: labels found by Ultralytics' rule, or refused by name."""

import logging
import os

import pytest

from nutrition_vl.data.paths import photo_suffixes
from tests.helpers.label_sets import BOX, TABLE, photo, read, write, yolo

LINE = "0 0.35 0.35 0.5 0.5\n"  # BOX
NAMES = f"names: [{TABLE}]\n"

# Where photo and label file lie below the data set, and what data.yaml says of the split.
PLACES = {
    "images and labels": ("images/val/a.jpg", "labels/val/a.txt", "images/val"),
    "one inside the other": ("val/images/a.jpg", "val/labels/a.txt", "val/images"),
    "an inner name of images": ("images/images_val/a.jpg", "labels/images_val/a.txt", "images"),
    "images twice": ("images/images/a.jpg", "images/labels/a.txt", "images/images"),
    "a name that ends so": ("my_images/a.jpg", "my_images/a.txt", "my_images"),
    "beside the photo": ("train/a.jpg", "train/a.txt", "train"),
    "beside in images": ("images/a.jpg", "images/a.txt", "images"),
    "beside in a sub-folder": ("images/x/y/a.jpg", "images/x/y/a.txt", "images"),
    "sub-folders": ("images/val/shop 1/é/a.jpg", "labels/val/shop 1/é/a.txt", "images/val"),
    "dots in names": ("images/a.b.c.jpg", "labels/a.b.c.txt", "images"),
    "one photo": ("images/a.jpg", "labels/a.txt", "images/a.jpg"),
    "a slash behind": ("images/val/a.jpg", "labels/val/a.txt", "images/val/"),
    "a dot in front": ("images/val/a.jpg", "labels/val/a.txt", "./images/val"),
    "backslashes": ("images/val/a.jpg", "labels/val/a.txt", "images\\val"),
    "colab": ("valid/images/a.jpg", "valid/labels/a.txt", "/content/set-1/valid/images"),
    "windows": ("images/val/a.jpg", "labels/val/a.txt", "C:\\Users\\me\\set\\images\\val"),
    "a suffix in capitals": ("images/a.JPG", "labels/a.txt", "images"),
    "a label in capitals": ("images/a.jpg", "labels/a.TXT", "images"),
}


@pytest.mark.parametrize("parent", ["set", "food_images/set", "images/set", "labels/images"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_labels_are_found_by_whole_path_parts_then_beside_the_photo(place, parent, tmp_path):
    folder, (lies, labels, named) = tmp_path / parent, place
    photo(folder / lies)
    write(folder / labels, LINE)
    write(folder / "data.yaml", f"val: {named}\n{NAMES}")
    boxes, skipped = read(folder)
    assert (list(boxes.values()), skipped) == ([[BOX]], {})


@pytest.mark.parametrize("suffix", sorted(photo_suffixes() - {".apng", ".avifs", ".avif"}))
def test_every_format_that_opens_is_a_photo(suffix, tmp_path):
    yolo(tmp_path)
    photo(tmp_path / f"images/val/b{suffix}")
    write(tmp_path / "labels/val/b.txt", LINE)
    assert read(tmp_path)[0] == {"a": [BOX], "b": [BOX]}


def test_a_label_file_whose_photo_cannot_be_read_is_named(tmp_path):
    yolo(tmp_path)
    write(tmp_path / "images/val/b.psd", "no format of ours")
    write(tmp_path / "labels/val/b.txt", LINE)
    write(tmp_path / "labels/val/c.txt", LINE)
    write(tmp_path / "labels/val/classes.txt", TABLE)
    write(tmp_path / "labels/val/notes.txt", "nothing to read here, only five words")
    boxes, skipped = read(tmp_path)
    assert boxes == {"a": [BOX]} and set(skipped) == {"b.txt", "c.txt"}


def test_no_label_file_at_all_is_no_set_of_photos_without_tables(tmp_path):
    yolo(tmp_path)
    os.rename(tmp_path / "labels", tmp_path / "annotations")
    with pytest.raises(
        ValueError, match=r"data\.yaml: none of the 1 photos of split val has a lab"
    ):
        read(tmp_path)


def test_labels_of_another_split_are_no_labels(tmp_path):
    yolo(tmp_path)
    os.rename(tmp_path / "labels/val", tmp_path / "labels/train")
    with pytest.raises(ValueError, match=r"none of the 1 photos of split val has a label file"):
        read(tmp_path)


def test_photos_without_a_label_file_among_others_are_counted(tmp_path, caplog):
    yolo(tmp_path)
    for name in "bcd":
        photo(tmp_path / f"images/val/{name}.jpg")
    write(tmp_path / "labels/val/d.txt", "")
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path)[0] == {"a": [BOX], "b": [], "c": [], "d": []}
    assert "2 of 4 photos of split val have no label file (the first is b.jpg)" in caplog.text


def test_files_that_macos_and_notebooks_leave_are_no_photos(tmp_path):
    yolo(tmp_path)
    for name in ("._a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "__MACOSX/a.jpg"):
        write(tmp_path / "images/val" / name, "no photo")
    assert read(tmp_path) == ({"a": [BOX]}, {})


@pytest.mark.parametrize("inner", ["images/val", "images", "labels", "images/val/deep"])
def test_linked_folders_and_loops(inner, tmp_path):
    folder, away = yolo(tmp_path / "set"), tmp_path / "away"
    os.symlink(folder, folder / "images/val/loop")
    if inner == "images/val/deep":
        photo(away / "b.jpg")
        os.symlink(away, folder / inner)
        write(folder / "labels/val/deep/b.txt", LINE)
        assert read(folder)[0] == {"a": [BOX], "b": [BOX]}
    else:
        os.rename(folder / inner, away)
        os.symlink(away, folder / inner)
        assert read(folder)[0] == {"a": [BOX]}


TWO = ("barcode", TABLE)
MAPPINGS = [
    (f"names: [barcode, {TABLE}]", 1),
    (f"names:\n- barcode\n- {TABLE}", 1),
    (f"names: {{0: barcode, 1: {TABLE}}}", 1),
    (f"names:\n  1: {TABLE}\n  2: barcode", 1),
    (f"names:\n  7: {TABLE}\n  3: barcode", 7),
    (f"names: {{'1': barcode, '0': {TABLE}}}", 0),
    (f"names: {{10: {TABLE}, 9: barcode, 100: logo}}", 10),
    (f"nc: 2\nnames: [' {TABLE} ', zebra]", 0),
    (f"names: [zebra, apple, {TABLE}]", 2),
]


@pytest.mark.parametrize(("names", "number"), MAPPINGS)
def test_class_ids_mean_what_the_file_says(names, number, tmp_path):
    folder = yolo(tmp_path, f"val: images/val\n{names}\n", f"{number}{LINE[1:]}")
    assert read(folder) == ({"a": [BOX]}, {})


@pytest.mark.parametrize("number", ["2", "-1", "0.5", "nan", "inf", "9" * 30])
def test_a_class_id_that_the_file_does_not_name_is_named(number, tmp_path):
    folder = yolo(tmp_path, line=f"{number}{LINE[1:]}")
    with pytest.raises(ValueError, match=r"labels/val/a\.txt, line 1: no class has the id"):
        read(folder)


@pytest.mark.parametrize(
    "names", ["5", "text", "{a: b}", "[]", "{}", "[[a]]", "{0: [a]}", "{1: a, '1': b}", "{-1: a}"]
)
def test_names_that_map_nothing_are_refused(names, tmp_path):
    with pytest.raises(ValueError, match=r"data\.yaml: names must"):
        read(yolo(tmp_path, f"val: images/val\nnames: {names}\n"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["data.yaml", "labels/val/a.txt"])
def test_a_byte_order_mark_is_no_error(name, encoding, tmp_path):
    file = yolo(tmp_path) / name
    file.write_text(file.read_text(), encoding=encoding)
    assert read(tmp_path) == ({"a": [BOX]}, {})


GOOD = [
    "0\t0.35\t0.35\t0.5\t0.5",
    "0 0.35 0.35 0.5 0.5\r\n\r\n",
    "0.0 3.5e-1 0.35 .5 0.5",
    "  0   0.35 0.35 0.5 0.5  ",
    "0 0.1 0.1 0.6 0.1 0.6 0.6 0.1 0.6",
    "0 0.1 0.1 0.6 0.1 0.6 0.6 0.1 0.6 0.1 0.1",
    "0 0.6 0.6 0.1 0.3 0.35 0.1",
]


@pytest.mark.parametrize("line", GOOD)
def test_lines_of_boxes_and_polygons(line, tmp_path):
    assert read(yolo(tmp_path, line=line)) == ({"a": [BOX]}, {})


def test_key_points_are_not_taken_for_a_polygon(tmp_path):
    config = f"val: images/val\nkpt_shape: [3, 2]\n{NAMES}"
    line = "0 0.35 0.35 0.5 0.5 0.9 0.9 0.1 0.9 0.9 0.1"
    assert read(yolo(tmp_path, config, line)) == ({"a": [BOX]}, {})


BAD = [
    "0 0.35 0.35 0.5",
    "0 0.35 0.35 0.5 0.5 0.9",
    "0 0.35 0.35 0.5 0.5 0.1 0.2 0.3",
    "0,0.35,0.35,0.5,0.5",
    "0 0.35 0.35 0.5 wide",
    "0 70 35 100 50",
    "0 1.35 0.35 0.5 0.5",
    "0 -0.35 0.35 0.5 0.5",
    "0 0.35 0.35 0 0.5",
    "0 0.35 0.35 nan 0.5",
    "0 0.35 0.35 inf 0.5",
    f"{TABLE} 0.35 0.35 0.5 0.5",
    "0",
    "\x00",
]


@pytest.mark.parametrize("line", BAD)
def test_one_bad_line_is_named_and_other_photos_stay(line, tmp_path):
    folder = yolo(tmp_path)
    photo(folder / "images/val/b.jpg")
    write(folder / "labels/val/b.txt", f"{LINE}{line}\n")
    boxes, skipped = read(folder)
    assert boxes == {"a": [BOX]} and len(skipped) == 1
    ((name, reason),) = skipped.items()
    assert name in ("b", "b.jpg") and "b" in reason


def test_boxes_from_their_upper_left_corner_are_no_centres(tmp_path):
    """As centres, the first of two boxes reaches from -0.3 to 0.5 of the sides."""
    folder = yolo(tmp_path, line="0 0.1 0.1 0.8 0.8\n0 0.5 0.5 0.4 0.4\n")
    with pytest.raises(ValueError, match=r"first of a\) leave .* as x, y, width, height: write"):
        read(folder)


def test_a_box_that_reaches_out_a_little_is_clipped(tmp_path):
    """From -0.025 to 0.225 of 200, and from 0.3 to 0.7 of 100."""
    folder = yolo(tmp_path, line="0 0.1 0.5 0.25 0.4\n0 0.5 0.5 0.4 0.4\n")
    assert read(folder) == ({"a": [[0, 30, 45, 70], [60, 30, 140, 70]]}, {})


def test_a_label_file_that_is_no_text_is_named(tmp_path):
    folder = yolo(tmp_path)
    photo(folder / "images/val/b.jpg")
    (folder / "labels/val/b.txt").write_bytes(b"\xff\x00\x81")
    boxes, skipped = read(folder)
    assert boxes == {"a": [BOX]} and "b.txt is not UTF-8 text" in skipped["b.jpg"]


@pytest.mark.parametrize(
    "listed", ["images/val/a.jpg", "./images/val/a.jpg", "images\\val\\a.jpg",
               "data/images/val/a.jpg",
               "/content/set/images/val/a.jpg", "../set/images/val/a.jpg"]
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["", "path: .\n", "path: /content/set\n", "path: ../datasets/set\n"]
)
def test_a_list_of_photos(listed, path, tmp_path):
    folder = yolo(tmp_path / "set", f"{path}val: val.txt\n{NAMES}")
    photo(folder / "images/val/other.jpg")
    write(folder / "val.txt", f"{listed}\n\n")
    assert read(folder) == ({"a": [BOX]}, {})


def test_a_listed_photo_that_is_missing_is_named(tmp_path):
    folder = yolo(tmp_path, f"val: val.txt\n{NAMES}")
    write(folder / "val.txt", "./images/val/none.jpg\n./images/val/a.jpg\n")
    boxes, skipped = read(folder)
    assert boxes == {"a": [BOX]} and list(skipped) == ["none"]


def test_a_split_of_several_folders(tmp_path):
    folder = yolo(tmp_path, f"val: [images/val, images/more]\n{NAMES}")
    photo(folder / "images/more/b.jpg")
    write(folder / "labels/more/b.txt", LINE)
    assert read(folder) == ({"a": [BOX], "b": [BOX]}, {})


@pytest.mark.parametrize("config", [
    "path: /content/set\ntrain: images/train\nval: images/val\n",
    "path: ../datasets/set\ntrain: images/train\nval: images/val\n",
    "path: C:\\data\\set\ntrain: images\\train\nval: images\\val\n",
    "train: /kaggle/input/set/images/train\nval: /kaggle/input/set/images/val\n",
    "train: ../images/train\nval: ../images/val\n",
    "train: images/train\nvalid: images/val\n",
    "",
])  # fmt: skip
def test_each_split_gives_its_own_photos(config, tmp_path):
    folder = yolo(tmp_path / "set", f"{config}{NAMES}")
    photo(folder / "images/train/t.jpg")
    write(folder / "labels/train/t.txt", LINE)
    assert read(folder) == ({"a": [BOX]}, {})
    assert read(folder, "train") == ({"t": [BOX]}, {})
    assert read(folder / "data.yaml", "train") == ({"t": [BOX]}, {})


def test_splits_that_come_out_as_one_folder_are_refused(tmp_path):
    config = "train: /content/set/train/images\nval: /content/set/valid/images\n"
    folder = tmp_path / "set"
    photo(folder / "images/a.jpg")
    write(folder / "labels/a.txt", LINE)
    write(folder / "data.yaml", f"{config}{NAMES}")
    with pytest.raises(ValueError, match=r"data\.yaml names .* both come out as"):
        read(folder)


def test_a_configuration_of_any_name(tmp_path):
    folder = yolo(tmp_path)
    os.rename(folder / "data.yaml", folder / "food.yml")
    write(folder / "other.yaml", "kind: nothing of ours\n")
    for source in (folder, folder / "food.yml"):
        assert read(source) == ({"a": [BOX]}, {})
    write(folder / "more.yaml", NAMES)
    with pytest.raises(ValueError, match=r"several YOLO configurations \(food\.yml, more\.yaml\)"):
        read(folder)


@pytest.mark.parametrize(
    "text", ["", "3", "- a", "names: [", "\t", "names: !!python/object:os.x 1"]
)
def test_a_configuration_that_is_none_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match=r"data\.yaml"):
        read(yolo(tmp_path, text) / "data.yaml")


TOOLS = {
    "labelimg": ("a.jpg", "a.txt", "classes.txt"),
    "label studio": ("images/a.jpg", "labels/a.txt", "classes.txt"),
    "cvat": ("obj_train_data/a.jpg", "obj_train_data/a.txt", "obj.names"),
    "classes beside labels": ("images/a.jpg", "labels/a.txt", "labels/classes.txt"),
}


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_tools_that_list_the_classes_in_a_text_file(tool, tmp_path):
    lies, labels, classes = tool
    photo(tmp_path / lies)
    write(tmp_path / labels, f"1{LINE[1:]}")
    write(tmp_path / classes, f"barcode\n{TABLE}\n")
    assert read(tmp_path) == ({"a": [BOX]}, {})


def test_darknets_lists_give_each_split_its_own_photos(tmp_path):
    write(tmp_path / "obj.names", f"{TABLE}\n")
    for split, name in (("train", "t"), ("valid", "a")):
        photo(tmp_path / f"obj_{split}_data/{name}.jpg")
        write(tmp_path / f"obj_{split}_data/{name}.txt", LINE)
        write(tmp_path / f"{split}.txt", f"data/obj_{split}_data/{name}.jpg\n")
    assert read(tmp_path) == ({"a": [BOX]}, {})
    assert read(tmp_path, "train") == ({"t": [BOX]}, {})


def test_a_class_list_in_the_folder_of_each_split(tmp_path):
    for split, name in (("train", "t"), ("val", "a")):
        photo(tmp_path / f"{split}/{name}.jpg")
        write(tmp_path / f"{split}/{name}.txt", LINE)
        write(tmp_path / f"{split}/classes.txt", f"{TABLE}\n")
    assert read(tmp_path) == ({"a": [BOX]}, {})
    write(tmp_path / "val/classes.txt", f"barcode\n{TABLE}\n")
    with pytest.raises(ValueError, match=r"train/classes\.txt, val/classes\.txt\): name one"):
        read(tmp_path)
