"""COCO files as people have them: boxes at the right photo, or a sentence with the name."""

import os

import pytest

from tests.helpers.label_sets import BOX, TABLE, coco, image, mark, photo, read, write

TWO = [image(1, "a.jpg"), image(2, "b.jpg")]


def photos(folder, *names):
    for name in names:
        photo(folder / name)


@pytest.mark.parametrize(
    ("key", "refers"),
    [("1", 1), (1, "1"), (1, 1.0), (1.0, "1"), ("x1", "x1"), (0, "0"), ("a", "a")],
)
def test_ids_of_two_types_are_one_id(key, refers, tmp_path):
    photos(tmp_path, "a.jpg")
    file = coco(tmp_path, [image(key)], [mark(refers)])
    assert read(file) == ({"a": [BOX]}, {})


def test_category_ids_of_two_types_are_one_id(tmp_path):
    photos(tmp_path, "a.jpg")
    file = coco(tmp_path, marks=[mark(category="1")])
    assert read(file) == ({"a": [BOX]}, {})


@pytest.mark.parametrize(
    ("images", "marks"),
    [
        ([image(1, "a.jpg"), image(2, "b.jpg")], [mark(0), mark(1)]),
        ([image(0, "a.jpg"), image(1, "b.jpg")], [mark(1), mark(2)]),
        ([image(1, "a.jpg"), image(2, "b.jpg")], [mark("0"), mark("1")]),
        ([image("0001", "a.jpg"), image("0002", "b.jpg")], [mark(1), mark(2)]),
        ([image("a", "a.jpg"), image("b", "b.jpg")], [mark("a.jpg"), mark("b.jpg")]),
    ],
)
def test_image_ids_that_are_not_those_of_the_photos_are_refused(images, marks, tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(ValueError, match=r"c\.json: the image_ids of its annotations"):
        read(coco(tmp_path, images, marks))


def test_category_ids_that_count_from_another_number_are_refused(tmp_path):
    photos(tmp_path, "a.jpg")
    marks = [mark(category=0), mark(category=1)]
    with pytest.raises(ValueError, match=r"c\.json: the category_ids .* one off"):
        read(coco(tmp_path, marks=marks, names=(TABLE, "barcode")))


def test_annotations_of_no_photo_are_counted_and_named(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    boxes, skipped = read(coco(tmp_path, TWO, [mark(1), mark(2), mark(7), mark(7)]))
    assert boxes == {"a": [BOX], "b": [BOX]}
    assert list(skipped) == ["image_id 7"] and "2 annotations" in skipped["image_id 7"]


@pytest.mark.parametrize("keys", [(1, 1, 2), (1, "1", 2)])
def test_photos_that_share_an_id_are_left_out(keys, tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    images = [image(key, name) for key, name in zip(keys, ("a.jpg", "b.jpg", "c.jpg"), strict=True)]
    boxes, skipped = read(coco(tmp_path, images, [mark(1), mark(2)]))
    assert boxes == {"c": [BOX]}
    assert {"a.jpg", "b.jpg"} <= set(skipped)


def test_a_photo_that_is_listed_twice_is_left_out(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    images = [image(1, "a.jpg"), image(2, "a.jpg"), image(3, "b.jpg")]
    boxes, skipped = read(coco(tmp_path, images, [mark(1), mark(2), mark(3)]))
    assert boxes == {"b": [BOX]} and "listed 2 times" in skipped["a.jpg"]


@pytest.mark.parametrize("missing", ["a", "b", "c"])
@pytest.mark.parametrize("folder", ["", "images/", "images/shop/"])
def test_a_missing_photo_is_named_and_moves_no_other(missing, folder, tmp_path):
    names = [name for name in "abc" if name != missing]
    photos(tmp_path, *(f"{folder}{name}.jpg" for name in names))
    images = [image(key, f"{folder}{name}.jpg") for key, name in enumerate("abc", 1)]
    boxes, skipped = read(coco(tmp_path, images, [mark(1), mark(2), mark(3)]))
    assert boxes == {name: [BOX] for name in names}
    assert list(skipped) == [missing] and f"{missing}.jpg" in skipped[missing]


def test_a_missing_photo_is_not_replaced_by_one_of_its_name_elsewhere(tmp_path):
    photos(tmp_path, "a.jpg", "train/b.jpg")
    images = [image(1, "train/a.jpg"), image(2, "train/b.jpg")]
    boxes, skipped = read(coco(tmp_path, images, [mark(1), mark(2)]))
    assert boxes == {"b": [BOX]} and list(skipped) == ["a"]


BAD = [
    {"bbox": [1, 2, 3]},
    {"bbox": None},
    {"bbox": []},
    {"bbox": "20 10 100 50"},
    {"bbox": [20, 10, "wide", 50]},
    {"bbox": [20, 10, float("nan"), 50]},
    {"bbox": [20, 10, float("inf"), 50]},
    {"bbox": [20, 10, True, 50]},
    {"bbox": [[20, 10, 100, 50]]},
    {"bbox": {"x": 20, "y": 10, "width": 100, "height": 50}},
    {"bbox": [20, 10, 0, 50]},
    {"bbox": [300, 200, 10, 10]},
    {"bbox": [0.1, 0.1, 0.5, 0.5]},
    {"category_id": None},
    {"category_id": 5},
    {"category_id": [1]},
    {"image_id": None},
    {"image_id": [1]},
    {"bbox": [20, 10, 120, 60], "area": 5000},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_one_bad_annotation_is_named_and_other_photos_stay(bad, tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    file = coco(tmp_path, TWO, [mark(1), mark(1) | bad, mark(2)])
    boxes, skipped = read(file)
    assert boxes["b"] == [BOX] and skipped
    if "image_id" not in bad:  # else it is no photo's
        assert "a" not in boxes


@pytest.mark.parametrize("bad", [None, 3, "x", [], {}, {"image_id": 1}])
def test_an_annotation_that_is_none_is_named(bad, tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    boxes, skipped = read(coco(tmp_path, TWO, [mark(1), bad, mark(2)]))
    assert boxes["b"] == [BOX] and len(skipped) == 1


@pytest.mark.parametrize(
    "bad", [None, 3, {}, {"id": 9}, {"file_name": "c.jpg"}, {"id": 9, "file_name": 5},
            {"id": [9], "file_name": "c.jpg"}, {"id": None, "file_name": "c.jpg"},
            {"id": 9, "file_name": ["c.jpg"]}, {"id": 9, "file_name": " "}]
)  # fmt: skip
def test_a_photo_entry_that_is_none_is_named(bad, tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    boxes, skipped = read(coco(tmp_path, [*TWO, bad], [mark(1), mark(2)]))
    assert boxes == {"a": [BOX], "b": [BOX]} and len(skipped) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"segmentation": [[1, 2]]},
        {"segmentation": {"counts": "not RLE", "size": [1, 1]}},
        {"segmentation": {"counts": [1, 2, 3], "size": [4000, 3000]}},
        {"segmentation": None, "iscrowd": None},
        {"iscrowd": 1, "segmentation": {"counts": [0], "size": None}},
        {"segmentation": [], "area": None},
        {"keypoints": "x", "attributes": 3, "id": None},
    ],
    ids=str,
)
def test_nothing_unused_can_spoil_a_box(more, tmp_path):
    photos(tmp_path, "a.jpg")
    assert read(coco(tmp_path, marks=[mark() | more])) == ({"a": [BOX]}, {})


@pytest.mark.parametrize("size", [None, (0, 0), (None, None), ("200", "100"), ("?", 100)])
def test_a_missing_or_odd_size_changes_nothing(size, tmp_path):
    photos(tmp_path, "a.jpg")
    assert read(coco(tmp_path, [image(size=size)]))[0] == {"a": [BOX]}


def test_corners_in_place_of_sizes_are_refused(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    marks = [mark(1, (20, 10, 120, 60)), mark(2, (130, 40, 190, 90))]
    with pytest.raises(ValueError, match=r"c\.json: .* fit as x0, y0, x1, y1"):
        read(coco(tmp_path, TWO, marks))


def test_negative_sizes_are_the_same_box_from_its_other_corner(tmp_path):
    photos(tmp_path, "a.jpg")
    assert read(coco(tmp_path, marks=[mark(box=(120, 60, -100, -50))]))[0] == {"a": [BOX]}


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("content", [False, {}, 3, "x"])
def test_a_list_that_is_none_is_refused(key, content, tmp_path):
    photos(tmp_path, "a.jpg")
    with pytest.raises(ValueError, match=rf"c\.json: {key} must be a list"):
        read(coco(tmp_path, **{key: content}))


@pytest.mark.parametrize(
    "categories", [[3], [{}], [{"id": 1}], [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]]
)
def test_categories_that_are_none_are_refused(categories, tmp_path):
    photos(tmp_path, "a.jpg")
    with pytest.raises(ValueError, match=r"c\.json"):
        read(coco(tmp_path, categories=categories))


def test_photos_without_any_annotation_are_no_photos_without_tables(tmp_path):
    photos(tmp_path, "a.jpg")
    with pytest.raises(ValueError, match=r"c\.json lists 1 photos and no annotation"):
        read(coco(tmp_path, marks=[]))


def test_coco_results_are_no_labels(tmp_path):
    photos(tmp_path, "a.jpg")
    results = [{"image_id": 1, "category_id": 1, "bbox": [20, 10, 100, 50], "score": 0.9}]
    with pytest.raises(ValueError, match=r"r\.json holds COCO results"):
        read(write(tmp_path / "r.json", results))


@pytest.mark.parametrize(
    ("listed", "lies"),
    [
        ("/content/drive/set/images/a.jpg", "images/a.jpg"),
        ("/content/drive/set/a.jpg", "a.jpg"),
        ("C:\\Users\\me\\set\\images\\a.jpg", "images/a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        ("./images/a.jpg", "images/a.jpg"),
        ("../../label-studio/data/media/upload/1/a.jpg", "images/a.jpg"),
        ("https://example.org/data/a.jpg", "images/a.jpg"),
        ("a%20b.jpg", "a b.jpg"),
        ("a b.jpg", "images/a b.jpg"),
        ("a+b%.jpg", "a+b%.jpg"),
    ],
)
def test_photos_of_other_machines_are_those_with_the_same_end(listed, lies, tmp_path):
    photos(tmp_path, lies, "images/other/z.jpg")
    boxes, skipped = read(coco(tmp_path, [image(1, listed)]))
    assert (list(boxes.values()), skipped) == ([[BOX]], {})


def test_the_end_of_a_path_keeps_all_that_tells_photos_apart(tmp_path):
    photos(tmp_path, "one/a.jpg", "a.jpg")
    images = [image(1, "/content/set/one/a.jpg"), image(2, "/content/set/two/a.jpg")]
    boxes, skipped = read(coco(tmp_path, images, [mark(1), mark(2)]))
    assert list(boxes.values()) == [[BOX]] and len(skipped) == 1


def test_a_linked_folder_of_photos(tmp_path):
    photos(tmp_path / "elsewhere", "a.jpg")
    os.symlink(tmp_path / "elsewhere", tmp_path / "images")
    assert read(coco(tmp_path)) == ({"a": [BOX]}, {})


LAYOUTS = {
    "roboflow": ("valid/_annotations.coco.json", "valid/a.jpg", "a.jpg"),
    "cvat": ("annotations/instances_default.json", "images/a.jpg", "a.jpg"),
    "cvat with sub-folders": ("annotations/instances_default.json", "images/x/a.jpg", "x/a.jpg"),
    "cvat of a subset": ("annotations/instances_val.json", "images/val/a.jpg", "a.jpg"),
    "coco": ("annotations/instances_val2017.json", "val2017/a.jpg", "a.jpg"),
    "coco in images": ("annotations/instances_val2017.json", "images/val2017/a.jpg", "a.jpg"),
    "fiftyone": ("labels.json", "data/a.jpg", "a.jpg"),
    "label studio": ("result.json", "images/a.jpg", "images\\a.jpg"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_tools(layout, tmp_path):
    file, lies, listed = layout
    photos(tmp_path, lies)
    coco(tmp_path, [image(1, listed)], name=file)
    for source in (tmp_path, tmp_path / file):
        assert read(source) == ({"a": [BOX]}, {})


def test_roboflows_top_folder_gives_each_split_its_own_photos(tmp_path):
    for split, name in (("train", "a"), ("valid", "b"), ("test", "c")):
        photos(tmp_path, f"{split}/{name}.jpg")
        coco(tmp_path, [image(1, f"{name}.jpg")], name=f"{split}/_annotations.coco.json")
    for split, name in (("train", "a"), ("val", "b"), ("valid", "b"), ("test", "c")):
        assert read(tmp_path, split) == ({name: [BOX]}, {})
    with pytest.raises(ValueError, match="has no split 'dev': it has test, train, valid"):
        read(tmp_path, "dev")


def test_several_annotation_files_without_a_split_are_refused(tmp_path):
    photos(tmp_path, "a.jpg")
    coco(tmp_path, name="one.json")
    coco(tmp_path, name="two.json")
    with pytest.raises(ValueError, match=r"several annotation files \(one\.json, two\.json\)"):
        read(tmp_path)


def test_a_byte_order_mark_is_no_error(tmp_path):
    photos(tmp_path, "a.jpg")
    file = coco(tmp_path)
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_text(coco(tmp_path).read_text(), encoding=encoding)
        assert read(file) == ({"a": [BOX]}, {})


@pytest.mark.parametrize("refers", [7, None, "b.jpg"])
def test_a_photo_without_annotation_next_to_one_of_no_photo_is_named(refers, tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    boxes, skipped = read(coco(tmp_path, TWO, [mark(1), mark(refers)]))
    assert boxes == {"a": [BOX]} and len(skipped) == 2
    assert "b.jpg has no annotation, and 1 annotations belong to no photo" in skipped["b.jpg"]


def test_boxes_of_centre_and_size_are_refused(tmp_path):
    """From its corner the first of two boxes ends at 260, 130 of 200 x 100."""
    photo(tmp_path / "a.jpg")
    marks = [mark(box=(100, 50, 160, 80)), mark(box=(60, 40, 40, 20)) | {"id": 2}]
    reason = r"1 boxes \(the first of a\.jpg\) reach out .* fit as centre and size: write"
    with pytest.raises(ValueError, match=reason):
        read(coco(tmp_path, marks=marks), "train")
