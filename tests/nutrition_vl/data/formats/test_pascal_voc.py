"""Pascal VOC files as people have them: the right photos, or a sentence with the file's name."""

import logging

import pytest

from tests.helpers.label_sets import BOX, TABLE, photo, read, voc, write


def listed(folder, text, names=("pack 1", "pack", "1", "b"), split="val"):
    for name in names:
        photo(folder / f"JPEGImages/{name}.jpg")
        voc(folder / f"Annotations/{name}.xml", f"{name}.jpg")
    write(folder / f"ImageSets/Main/{split}.txt", text)
    return folder


LISTS = [
    ("pack 1\n", {"pack 1"}),
    ("pack\n1\n", {"pack", "1"}),
    ("pack 1\r\nb\r\n\r\n", {"pack 1", "b"}),
    ("\ufeffpack 1\n", {"pack 1"}),
    ("  b  \n", {"b"}),
    ("b -1\n1  1\n", {"b", "1"}),
    ("b  1\npack -1\n", {"b", "pack"}),
    ("pack 1\nb -1\n", {"pack", "b"}),
    ("b\nb\n", {"b"}),
    ("pack 1.jpg\n", {"pack 1"}),
    ("b.xml", {"b"}),
    ("JPEGImages/pack 1.jpg\n", {"pack 1"}),
    ("/content/VOC2007/JPEGImages/b.jpg\n", {"b"}),
    ("VOC2007\\Annotations\\b.xml\n", {"b"}),
]


@pytest.mark.parametrize(("text", "names"), LISTS)
def test_a_line_of_a_list_is_one_photo(text, names, tmp_path):
    boxes, skipped = read(listed(tmp_path, text))
    assert boxes == {name: [BOX] for name in names} and not skipped


def test_sub_folders_in_lists(tmp_path):
    listed(tmp_path, "shop 1/a\nshop 2/a\nb\n", ("shop 1/a", "shop 2/a", "shop 3/a", "b"))
    boxes, skipped = read(tmp_path)
    assert sorted(boxes) == ["a", "a-2", "b"] and not skipped


def test_a_name_of_several_photos_in_a_list_is_named(tmp_path):
    boxes, skipped = read(listed(tmp_path, "a\nb\n", ("shop 1/a", "shop 2/a", "b")))
    assert set(boxes) == {"b"} and list(skipped) == ["a"]


def test_a_listed_name_without_label_is_named(tmp_path):
    photo(tmp_path / "JPEGImages/c.jpg")
    boxes, skipped = read(listed(tmp_path, "b\nc\npack 2\n"))
    assert boxes == {"b": [BOX]} and set(skipped) == {"c", "pack 2"}
    assert "val.txt lists c, and there is no c.xml" in skipped["c"]


def test_a_default_list_of_cvat_serves_as_any_split(tmp_path):
    assert set(read(listed(tmp_path, "b\n", split="default"), "train")[0]) == {"b"}


DECLARED = '<?xml version="1.0" encoding="{}"?>\n'
ENCODINGS = [
    "GB2312", "gbk", "GB18030", "big5", "Shift_JIS", "euc-jp", "euc-kr", "utf-8", "UTF-16",
    "iso-8859-1", "windows-1252", "ascii", "US-ASCII",
]  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_that_are_declared(encoding, tmp_path):
    photo(tmp_path / "a.jpg")
    text = voc(tmp_path / "a.xml", head=DECLARED.format(encoding)).read_text()
    word = {"big5": "食品", "Shift_JIS": "食品①", "euc-jp": "食品", "euc-kr": "식품 똠"}.get(
        encoding
    )
    latin = encoding.startswith(("iso", "win"))
    word = word or ("é" if latin else "x" if "ascii" in encoding.lower() else "食品镕")
    text = text.replace("<annotation>", f"<annotation><folder>{word}</folder>")
    real = {"GB2312": "gbk", "Shift_JIS": "cp932", "euc-kr": "cp949"}.get(encoding, encoding)
    (tmp_path / "a.xml").write_bytes(text.encode(real))
    assert read(tmp_path) == ({"a": [BOX]}, {})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("head", ["", DECLARED.format("utf-8"), DECLARED.format("utf-16")])
def test_a_byte_order_mark_is_no_error(encoding, head, tmp_path):
    photo(tmp_path / "a.jpg")
    file = voc(tmp_path / "a.xml", head=head)
    file.write_text(file.read_text(), encoding=encoding)
    assert read(tmp_path) == ({"a": [BOX]}, {})


@pytest.mark.parametrize("encoding", ["unicode", "x-none", "hex", "base64", "undefined", "utf8mb4"])
def test_an_unknown_encoding_is_refused_with_the_files_name(encoding, tmp_path):
    photo(tmp_path / "a.jpg")
    voc(tmp_path / "a.xml", head=DECLARED.format(encoding))
    with pytest.raises(ValueError, match=r"a\.xml"):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ["gbk", "latin-1"])
def test_text_of_another_encoding_than_it_says_is_refused(encoding, tmp_path):
    photo(tmp_path / "a.jpg")
    file = voc(tmp_path / "a.xml", more="<folder>é</folder>", head=DECLARED.format("utf-8"))
    file.write_bytes(file.read_text().encode(encoding))
    with pytest.raises(ValueError, match=r"a\.xml is not utf-8 text as it says"):
        read(tmp_path)


OBJECT = "<object><name>nutrition-table</name>{}</object>"
BAD = [
    OBJECT.format(""),
    OBJECT.format("<bndbox></bndbox>"),
    OBJECT.format("<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax></bndbox>"),
    OBJECT.format("<bndbox><xmin>a</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"),
    OBJECT.format("<bndbox><xmin>nan</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"),
    OBJECT.format("<bndbox><xmin>1e999</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"),
    OBJECT.format("<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>20</ymax></bndbox>"),
    OBJECT.format("<bndbox><xmin>900</xmin><ymin>1</ymin><xmax>950</xmax><ymax>9</ymax></bndbox>"),
    OBJECT.format("<polygon><x1>1</x1></polygon>"),
    OBJECT.format("<robndbox><cx>1</cx><cy>2</cy><w>3</w><h>4</h></robndbox>"),
    "<object><name></name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    "</bndbox></object>",
    "<object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>",
    "<unclosed>",
    "</annotation><annotation>",
]


@pytest.mark.parametrize("more", BAD)
def test_one_bad_file_is_named_and_other_photos_stay(more, tmp_path):
    for name in "ab":
        photo(tmp_path / f"{name}.jpg")
        voc(tmp_path / f"{name}.xml", f"{name}.jpg", more=more if name == "b" else "")
    boxes, skipped = read(tmp_path)
    assert boxes == {"a": [BOX]} and len(skipped) == 1
    ((name, reason),) = skipped.items()
    assert name in ("b", "b.xml") and "b" in reason


@pytest.mark.parametrize(
    "text", ["", "x", "<annotations/>", "<html></html>", "\x00", "<annotation>"]
)
def test_a_file_that_is_no_annotation_is_named(text, tmp_path):
    photo(tmp_path / "a.jpg")
    voc(tmp_path / "a.xml")
    write(tmp_path / "b.xml", text)
    boxes, skipped = read(tmp_path)
    assert boxes == {"a": [BOX]} and "b.xml" in skipped["b.xml"]


def test_parts_of_an_object_are_no_objects(tmp_path):
    photo(tmp_path / "a.jpg")
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    file = voc(tmp_path / "a.xml")
    file.write_text(file.read_text().replace("</object>", f"{part}</object>"))
    assert read(tmp_path) == ({"a": [BOX]}, {})


NAMES = {
    "as it is": ("a.jpg", "a.jpg"),
    "without suffix": ("a", "a.jpg"),
    "empty": ("", "a.jpg"),
    "another suffix": ("a.png", "a.jpg"),
    "dots": ("a.b", "a.b.png"),
    "a path": ("photos/a.jpg", "a.jpg"),
    "windows": ("D:\\photos\\a.jpg", "a.jpg"),
    "spaces": (" a.jpg ", "a.jpg"),
    "capitals": ("a.jpg", "a.JPG"),
    "another name": ("DSC 1.jpg", "DSC 1.jpg"),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("labels", ["", "Annotations/"])
def test_the_photo_of_a_file(name, labels, tmp_path):
    written, lies = name
    stem = "a.b" if "a.b" in lies else "a"
    photo(tmp_path / ("JPEGImages" if labels else ".") / lies)
    voc(tmp_path / f"{labels}{stem}.xml", written)
    assert read(tmp_path) == ({stem: [BOX]}, {})


def test_a_file_that_names_another_photo_than_its_own_is_named(tmp_path):
    for name in "ab":
        photo(tmp_path / f"{name}.jpg")
        voc(tmp_path / f"{name}.xml", "a.jpg")
    boxes, skipped = read(tmp_path)
    assert boxes == {"a": [BOX]} and "names the photo a.jpg, and b.jpg" in skipped["b.xml"]


def test_two_files_of_one_photo_are_named(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "c.jpg")
    for name in ("a", "b"):
        voc(tmp_path / f"{name}.xml", "a.jpg")
    voc(tmp_path / "c.xml", "c.jpg")
    boxes, skipped = read(tmp_path)
    assert boxes == {"c": [BOX]} and set(skipped) == {"a", "b"}


def test_two_photos_of_a_file_without_a_name_are_named(tmp_path):
    for name in ("a.jpg", "a.png", "c.jpg"):
        photo(tmp_path / name)
    voc(tmp_path / "a.xml", "a")
    voc(tmp_path / "c.xml", "c")
    boxes, skipped = read(tmp_path)
    assert boxes == {"c": [BOX]} and "which one" in skipped["a.xml"]


def test_a_missing_photo_is_named_and_not_taken_from_another_split(tmp_path):
    photo(tmp_path / "train/a.jpg")
    photo(tmp_path / "valid/b.jpg")
    for name in "ab":
        voc(tmp_path / f"valid/{name}.xml", f"{name}.jpg")
    boxes, skipped = read(tmp_path)
    assert boxes == {"b": [BOX]} and list(skipped) == ["a.xml"]


def test_photos_without_a_file_are_counted(tmp_path, caplog):
    for name in ("a", "b", "c"):
        photo(tmp_path / f"{name}.jpg")
    voc(tmp_path / "a.xml")
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path) == ({"a": [BOX]}, {})
    assert "left out 2 photos without an .xml file (the first is b.jpg)" in caplog.text


LAYOUTS = {
    "devkit": ("Annotations/a.xml", "JPEGImages/a.jpg"),
    "devkit with sub-folders": ("Annotations/x/a.xml", "JPEGImages/x/a.jpg"),
    "photos flat": ("Annotations/x/a.xml", "JPEGImages/a.jpg"),
    "kaggle": ("annotations/a.xml", "images/a.jpg"),
    "pets": ("annotations/xmls/a.xml", "images/a.jpg"),
    "label studio": ("Annotations/a.xml", "images/a.jpg"),
    "labelimg": ("a.xml", "a.jpg"),
    "labels": ("labels/a.xml", "images/a.jpg"),
    "sub-folder": ("x/y/a.xml", "x/y/a.jpg"),
    "roboflow": ("valid/a.xml", "valid/a.jpg"),
    "split below": ("Annotations/val/a.xml", "JPEGImages/val/a.jpg"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("parent", ["set", "Annotations/labels"])
def test_layouts_of_tools(layout, parent, tmp_path):
    labels, lies = layout
    photo(tmp_path / parent / lies)
    voc(tmp_path / parent / labels)
    assert read(tmp_path / parent) == ({"a": [BOX]}, {})


def test_roboflows_top_folder_gives_each_split_its_own_photos(tmp_path):
    for split, name in (("train", "t"), ("valid", "a")):
        photo(tmp_path / f"{split}/{name}.jpg")
        voc(tmp_path / f"{split}/{name}.xml", f"{name}.jpg")
    assert read(tmp_path) == ({"a": [BOX]}, {})
    assert read(tmp_path, "train") == ({"t": [BOX]}, {})
    with pytest.raises(ValueError, match="has no split 'test': it has train, valid"):
        read(tmp_path, "test")


def test_what_another_split_declares_is_no_table(tmp_path):
    for split, label in (("train", TABLE), ("valid", "barcode")):
        photo(tmp_path / f"{split}/a.jpg")
        voc(tmp_path / f"{split}/a.xml", label=label)
    with pytest.raises(ValueError, match=f"labels barcode, {TABLE}, boxes of barcode"):
        read(tmp_path)
    assert read(tmp_path, label=TABLE)[0] == {"a": []}


def test_names_are_read_without_the_space_around(tmp_path):
    photo(tmp_path / "a.jpg")
    voc(tmp_path / "a.xml", label=f"\n  {TABLE}\n")
    assert read(tmp_path) == ({"a": [BOX]}, {})


def test_hidden_files_of_macos_are_no_labels(tmp_path):
    photo(tmp_path / "a.jpg")
    voc(tmp_path / "a.xml")
    write(tmp_path / "._a.xml", "Mac OS X")
    assert read(tmp_path) == ({"a": [BOX]}, {})
