"""Other classes are not tables: what a source declares counts, over all formats."""

import json
import logging

import pytest

from tests.helpers.label_sets import BOX, TABLE, coco, image, mark, photo, read, voc, write, yolo

BOTH = ("barcode", TABLE)


def coco_of(folder, used, declared):
    photo(folder / "a.jpg")
    marks = [mark(category=declared.index(name) + 1) for name in used]
    return coco(folder, marks=marks, names=declared)


def yolo_of(folder, used, declared):
    lines = "".join(f"{declared.index(name)} 0.35 0.35 0.5 0.5\n" for name in used)
    return yolo(folder, f"val: images/val\nnames: {json.dumps(declared)}\n", lines)


FORMATS = pytest.mark.parametrize("label", [coco_of, yolo_of])


@FORMATS
def test_a_split_of_another_class_alone_has_no_tables(label, tmp_path):
    source = label(tmp_path, ["barcode"], ["barcode", TABLE])
    with pytest.raises(ValueError, match=f"labels barcode, {TABLE}, boxes of barcode: rename"):
        read(source)


@FORMATS
def test_foreign_names_are_not_guessed(label, tmp_path):
    source = label(tmp_path, ["tableau"], ["logo", "tableau"])
    with pytest.raises(ValueError, match="labels logo, tableau, boxes of tableau: rename"):
        read(source)


@FORMATS
def test_a_named_class_is_the_table_and_the_others_are_counted(label, tmp_path, caplog):
    source = label(tmp_path, ["tableau", "logo", "logo"], ["logo", "tableau"])
    with caplog.at_level(logging.WARNING):
        assert read(source, label="tableau") == ({"a": [BOX]}, {})
    assert "left out the boxes of other classes: 2 of logo" in caplog.text


@FORMATS
def test_a_name_that_is_not_declared_is_refused(label, tmp_path):
    source = label(tmp_path, ["tableau"], ["logo", "tableau"])
    with pytest.raises(ValueError, match="has no class 'table': it has logo, tableau"):
        read(source, label="table")


@FORMATS
def test_a_photo_of_other_classes_alone_is_one_without_tables(label, tmp_path):
    source = label(tmp_path, ["barcode"], ["barcode", TABLE])
    assert read(source, label=TABLE) == ({"a": []}, {})


@FORMATS
def test_classes_that_are_declared_and_not_used_change_nothing(label, tmp_path, caplog):
    source = label(tmp_path, [TABLE], ["barcode", TABLE, "logo"])
    assert read(source) == ({"a": [BOX]}, {}) and not caplog.records


@FORMATS
def test_the_only_class_is_the_table_whatever_its_name(label, tmp_path, caplog):
    assert read(label(tmp_path, ["tableau"], ["tableau"])) == ({"a": [BOX]}, {})
    assert "reading its one label tableau as nutrition-table" in caplog.text


@pytest.mark.parametrize("used", [["table"], ["table", "table"]])
def test_roboflows_group_of_classes_is_none(used, tmp_path):
    photo(tmp_path / "a.jpg")
    categories = [
        {"id": 0, "name": "labels", "supercategory": "none"},
        {"id": 1, "name": "table", "supercategory": "labels"},
    ]
    file = coco(tmp_path, categories=categories)
    assert read(file) == ({"a": [BOX]}, {})
    categories.append({"id": 2, "name": "barcode", "supercategory": "labels"})
    with pytest.raises(ValueError, match="labels barcode, table, boxes of table"):
        read(coco(tmp_path, categories=categories))


def test_a_nutrition_table_that_groups_others_stays_declared(tmp_path):
    photo(tmp_path / "a.jpg")
    categories = [
        {"id": 0, "name": TABLE, "supercategory": "none"},
        {"id": 1, "name": "barcode", "supercategory": TABLE},
    ]
    with pytest.raises(ValueError, match=f"labels barcode, {TABLE}"):
        read(coco(tmp_path, categories=categories))


@pytest.mark.parametrize("name", ["Nutrition-Table", "nutrition_table", "nutrition table"])
def test_a_name_that_is_nearly_ours_is_not_guessed_among_others(name, tmp_path):
    photo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="rename them"):
        read(coco(tmp_path, names=(name, "barcode")))
    assert read(coco(tmp_path, names=(name, "barcode")), label=name)[0] == {"a": [BOX]}


def test_classes_of_all_voc_files_are_declared(tmp_path):
    for name, label in (("a", "barcode"), ("b", "logo")):
        photo(tmp_path / f"{name}.jpg")
        voc(tmp_path / f"{name}.xml", f"{name}.jpg", label)
    write(tmp_path / "ImageSets/Main/val.txt", "a\n")
    with pytest.raises(ValueError, match="labels barcode, logo, boxes of barcode"):
        read(tmp_path)


def test_a_limit_changes_no_class(tmp_path):
    for name in "ab":
        photo(tmp_path / f"{name}.jpg")
    images = [image(1, "a.jpg"), image(2, "b.jpg")]
    file = coco(tmp_path, images, [mark(1), mark(2, category=2)], names=("x", "y"))
    with pytest.raises(ValueError, match="labels x, y"):
        read(file, limit=1)
