"""A mistake in a data set is one sentence that says where it is; nothing is guessed."""

import json

import datasets
import pytest
from PIL import Image

from nutrition_vl.boxes import EXAMPLE, LABELS
from nutrition_vl.data.load import load_split
from nutrition_vl.data.sources import read_samples

BOX = {"bbox": [[0.1, 0.1, 0.6, 0.6]], "category_name": [LABELS[0]]}
CHAT = [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "(1,2),(3,4)"}]
VOC = "<annotation><filename>a.jpg</filename>{}</annotation>"


def folder_of(folder, **files):
    """A folder with the photo a.jpg and text files, `__` in a name standing for a dot."""
    Image.new("RGB", (200, 100)).save(folder / "a.jpg")
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def row(**changes):
    return json.dumps({"file_name": "a.jpg", "objects": BOX} | changes) + "\n"


METADATA = [
    (row() + '{"file_name": \n', r"metadata\.jsonl, line 2: not JSON"),
    (row() + "\n\nnull,\n", r"metadata\.jsonl, line 4: not JSON"),
    ('{"file_name": "a.jpg", "boxes": []}', "lacks objects: it has file_name, boxes"),
    ("[]", r"metadata\.jsonl must hold one object a photo"),
    (row(objects={"bbox": []}), "lacks category_name: it has bbox"),
    (row(objects=[]), "lacks bbox, category_name: it has no columns"),
    (row(objects=BOX | {"bbox": [[0.1, 0.2, 0.3]]}), "each box needs four numbers"),
    (row(objects=BOX | {"bbox": [["a", 0.2, 0.3, 1]]}), "each box needs four numbers"),
    (row(objects=BOX | {"category_name": []}), "each box needs four numbers and a category_name"),
    (
        row(objects=BOX | {"bbox": 5}),
        "metadata.jsonl, a: bbox must list an entry for each box, not 5",
    ),
    (row(objects=BOX | {"bbox": [5]}), "metadata.jsonl, a: each box needs four numbers"),
    (row(objects=BOX | {"category_name": 5}), "a: category_name must list an entry for each box"),
    (row(objects=BOX | {"category_name": [{}]}), "a: each box needs four numbers and a category"),
    (row(file_name=5), "metadata.jsonl: file_name must be a path in quotes, not 5"),
    (row(meta=5), "metadata.jsonl, a: meta must be an object .* not 5"),
    (row(split=1) + row(split="dev"), "has no split 'val': it has 1, dev"),
    (row(objects=BOX | {"bbox": [[10, 20, 60, 120]]}), "from 0 to 1"),
    (row(file_name="none.jpg"), r"there is no photo .*none\.jpg"),
    (row(split="dev") + row(split="off"), "has no split 'val': it has dev, off"),
    ("", "holds no photos"),
]


@pytest.mark.parametrize(("content", "reason"), METADATA)
def test_mistakes_in_metadata(content, reason, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=reason) as caught:
        load_split(folder_of(tmp_path, metadata__jsonl=content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"file_name": 5}, {"meta": 5}, {"objects": {"bbox": 5}}])
def test_a_row_of_wrong_types_is_left_out_where_that_is_wanted(change, tmp_path):
    skipped = []
    folder = folder_of(tmp_path, metadata__jsonl=row() + row(**change))
    assert load_split(folder, skipped=skipped)["id"] == ["a"]
    assert [left_out.id for left_out in skipped] == [str(change.get("file_name", "a.jpg"))]


def test_a_chat_of_wrong_types_is_left_out_where_that_is_wanted(tmp_path):
    answer = {"from": "gpt", "value": EXAMPLE}
    chats = [{"image": name, "conversations": [answer]} for name in ("a.jpg", 5)]
    folder = folder_of(tmp_path, qa__json=chats)
    skipped = []
    assert load_split(folder / "qa.json", skipped=skipped)["id"] == ["a"]
    assert "qa.json, 5 does not follow its format" in skipped[0].error


def test_labels_of_others_are_not_guessed(tmp_path):
    two = {"bbox": BOX["bbox"] * 2, "category_name": [LABELS[0], "barcode"]}
    with pytest.raises(
        ValueError, match="labels barcode, nutrition-table: rename them to nutrition"
    ):
        load_split(folder_of(tmp_path, metadata__jsonl=row(objects=two)))


FILES = [
    ("qa.json", '[{"image": "a.jpg",\n "conversations": [}]', r"qa\.json, line 2: not JSON"),
    ("qa.json", [{"conversations": CHAT}], r"qa\.json lacks image: it has conversations"),
    ("qa.json", [{"image": "a.jpg", "chat": CHAT}], "lacks messages: it has image, chat"),
    ("qa.json", [{"image": "a.jpg", "messages": CHAT[:1]}], "no answer in .* holds a box"),
    ("qa.json", [{"image": "none.jpg", "messages": CHAT}], r"there is no photo .*none\.jpg"),
    ("qa.json", [{"image": ["a.jpg", "b.jpg"], "messages": CHAT}], "expected one photo .* got 2"),
    ("qa.json", [{"image": "a.jpg", "messages": "(1,2),(3,4)"}], "does not follow its format"),
    ("qa.json", [], "holds no photos"),
    ("qa.jsonl", "[1, 2]\n", r"qa\.jsonl must hold one object a photo"),
    ("coco.json", {"images": []}, "lacks annotations, categories: it has images"),
    (
        "coco.json",
        {"images": [{}], "annotations": [], "categories": []},
        r"coco\.json, image 1: it lacks file_name",
    ),
    ("coco.json", "3", "lacks images, annotations, categories: it has no columns"),
    ("notes.txt", "hello", r"notes\.txt is no data set: name a folder with"),
]


@pytest.mark.parametrize(("name", "content", "reason"), FILES)
def test_mistakes_in_files(name, content, reason, tmp_path):
    folder_of(tmp_path, **{name.replace(".", "__"): content})
    with pytest.raises((ValueError, FileNotFoundError), match=reason) as caught:
        load_split(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_text_that_is_no_text(tmp_path):
    (tmp_path / "qa.json").write_bytes(b'["\xff\xfe"]')
    with pytest.raises(ValueError, match=r"qa\.json is not UTF-8 text: .* at byte 2"):
        load_split(tmp_path / "qa.json")


@pytest.mark.parametrize(
    ("yaml", "reason"),
    [
        ("names: [", r"data\.yaml is not YAML"),
        ("train: images\n", "lacks names: it has train"),
        ("names: [a]\ntrain: images\n", "has no split 'val': it has train"),
        ("names: [a]\nval: images/val\n", r"names images/val, and there is no such folder"),
    ],
)
def test_mistakes_in_yolo(yaml, reason, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        load_split(folder_of(tmp_path, data__yaml=yaml))


def test_a_bad_line_of_yolo_is_found(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images/a.jpg")
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 wide 0.5\n")
    with pytest.raises(ValueError, match=r"labels/a\.txt"):
        load_split(folder_of(tmp_path, data__yaml="names: [table]\n"))


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<annotation>\n<object>", r"a\.xml is not XML: .* line 2"),
        (VOC.format("<object><name>x</name></object>"), "without four numbers in its bndbox"),
        (VOC.replace("a.jpg", "none.jpg").format(""), r"there is no photo .*none\.jpg"),
    ],
)
def test_mistakes_in_voc(xml, reason, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        load_split(folder_of(tmp_path, a__xml=xml))


def test_voc_lists_choose_the_split(tmp_path):
    folder_of(tmp_path, a__xml=VOC.format(""), b__xml=VOC.format(""))
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text("b\n")
    assert list(load_split(tmp_path)["id"]) == ["b"]
    with pytest.raises(ValueError, match="has no split 'train': it has val"):
        load_split(tmp_path, "train")


def test_mistakes_in_parquet(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table = datasets.Dataset.from_dict({"picture": ["a.jpg"], "split": ["train"]})
    table.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="has no split 'val': it has train"):
        load_split(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="lacks image, objects: it has picture, split"):
        load_split(tmp_path / "rows.parquet", "train")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(ValueError, match=r"broken\.parquet"):
        load_split(tmp_path / "broken.parquet")
    for split in ("train", "test"):
        table.to_parquet(tmp_path / "shards" / f"{split}-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="has no split 'val': it has test, train"):
        load_split(tmp_path / "shards")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": None}, "row 2 has no image: put its bytes or path there, or leave it out"),
        ({"image": {"bytes": None, "path": None}}, "row 2 has no image"),
        ({"objects": {"bbox": None, "category_name": [LABELS[0]]}}, "row 2, a: each box needs"),
        ({"objects": {"bbox": None, "category_name": [None]}}, "row 2, a: each box needs"),
        ({"objects": BOX | {"category_name": None}}, "row 2, a: each box needs"),
    ],
)
def test_a_row_of_a_parquet_with_nulls_is_named(change, reason, tmp_path):
    photo = folder_of(tmp_path) / "a.jpg"
    whole = {"image": {"bytes": photo.read_bytes(), "path": "a.jpg"}, "objects": BOX}
    file = tmp_path / "rows.parquet"
    datasets.Dataset.from_list([whole, whole | change]).to_parquet(file)
    for read in (load_split, read_samples):
        with pytest.raises(ValueError, match=rf"rows\.parquet, {reason}"):
            read(file, "val")
        skipped = []
        assert len(read(file, "val", skipped=skipped)) == len(skipped) == 1


@pytest.mark.parametrize("source", ["nowhere", "./nowhere/at-all", "a/b/c", "/nowhere/at-all"])
def test_a_source_that_is_not_there_is_not_asked_for_on_the_hub(source):
    with pytest.raises(FileNotFoundError, match=f"there is no file or folder {source}"):
        load_split(source)


def test_the_hub_out_of_reach_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match="some/photos is neither a file or folder nor found"
    ):
        load_split("some/photos")


def test_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="is no data set: name a folder with"):
        load_split(tmp_path)
