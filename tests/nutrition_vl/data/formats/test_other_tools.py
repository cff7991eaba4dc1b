"""Formats of other tools are refused by name, with the export to choose."""

import json

import pytest
from PIL import Image

from nutrition_vl.data import load_split

BOX = {"label": "nutrition-table", "points": [[50, 60], [200, 300]]}
FILES = {
    "LabelMe": ("photo.json", {"version": "5", "shapes": [BOX], "imagePath": "photo.jpg"}),
    "VGG Image Annotator": ("via.json", {"photo.jpg9": {"filename": "photo.jpg", "regions": []}}),
    "CreateML": ("_annotations.createml.json", [{"image": "photo.jpg", "annotations": []}]),
    "Datumaro": ("annotations/default.json", {"categories": {}, "items": []}),
    "Supervisely": ("ds/ann/photo.jpg.json", {"size": {"height": 4, "width": 4}, "objects": []}),
    "Label Studio's JSON-MIN": ("min.json", [{"id": 1, "image": "/data/1.jpg", "label": []}]),
    "PaliGemma or Florence-2": ("train.jsonl", {"image": "1.jpg", "prefix": "", "suffix": ""}),
}


@pytest.mark.parametrize("tool", FILES)
def test_json_of_another_tool_is_refused_by_its_name(tool, tmp_path):
    name, content = FILES[tool]
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name} is in the format of {tool}.*: export COCO"):
        load_split(tmp_path, "train")


def test_a_folder_of_labelme_files_is_refused_by_its_name(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.json").write_text(json.dumps(FILES["LabelMe"][1]))
    with pytest.raises(ValueError, match="LabelMe"):
        load_split(tmp_path, "train")


def test_cvat_and_csv_are_refused_by_their_names(tmp_path):
    (tmp_path / "_annotations.csv").write_text("filename,width,height,class,xmin,ymin,xmax,ymax\n")
    with pytest.raises(ValueError, match=r"_annotations\.csv is a CSV"):
        load_split(tmp_path, "train")
    (tmp_path / "annotations.xml").write_text("<annotations><version>1.1</version></annotations>")
    with pytest.raises(ValueError, match="CVAT"):
        load_split(tmp_path, "train")


def test_every_name_of_a_split_finds_it(tmp_path):
    """A set with `valid` answers to val, valid and validation."""
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "_annotations.coco.json").write_text("{}")
    for name in ("val", "valid", "validation"):
        with pytest.raises(ValueError, match=r"valid/_annotations\.coco\.json lacks images"):
            load_split(tmp_path, name)


def test_conversations_may_have_the_keys_of_another_tool_too(tmp_path):
    Image.new("RGB", (640, 480)).save(tmp_path / "1.jpg")
    answer = "<|object_ref_start|>nutrition-table<|object_ref_end|>"
    answer += "<|box_start|>(100,100),(500,500)<|box_end|>"
    turns = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": answer}]
    row = {"id": 1, "image": "1.jpg", "label": "x", "size": 1, "objects": 1, "conversations": turns}
    (tmp_path / "chats.json").write_text(json.dumps([row]))
    assert len(load_split(tmp_path / "chats.json", "train")[0]["xyxy"]) == 1
