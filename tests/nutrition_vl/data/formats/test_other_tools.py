"""Formats of other tools are refused by name, with the export to choose."""

import json
import re

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
    "VGG Image Annotator 3": ("v.json", {"project": {}, "file": {}, "metadata": {}, "view": {}}),
    "Supervisely (project)": ("meta.json", {"classes": [], "tags": [], "projectType": "images"}),
    "Labelbox": ("export.jsonl", {"data_row": {"external_id": "1.jpg"}, "projects": {}}),
    "Labelbox (JSON)": ("export.json", [{"ID": "x", "Labeled Data": "1.jpg", "Label": {}}]),
    "SageMaker Ground Truth": ("out.jsonl", {"source-ref": "s3://packs/1.jpg", "tables": {}}),
    "Vertex AI": ("in.jsonl", {"imageGcsUri": "gs://packs/1.jpg", "boundingBoxAnnotations": []}),
    "Azure Machine Learning": ("a.jsonl", {"image_url": "AmlDatastore://1.jpg", "label": []}),
    "V7 Darwin": ("annotations/1.json", {"version": "2.0", "item": {}, "annotations": []}),
    "VoTT": ("export.json", {"name": "packs", "tags": [], "assets": {}}),
    "FiftyOne": ("labels.json", {"classes": ["nutrition-table"], "labels": {"1": None}}),
    "FiftyOne (samples)": ("samples.json", {"samples": [{"filepath": "data/1.jpg"}]}),
    "Scale AI": ("tasks.json", [{"task_id": "1", "params": {}, "response": {}}]),
    "BDD100K": ("labels.json", [{"name": "1.jpg", "labels": [{"box2d": {}}]}]),
    "OpenLABEL": ("scene.json", {"openlabel": {"metadata": {}}}),
    "Detectron2": ("train.json", [{"file_name": "1.jpg", "image_id": 1, "annotations": []}]),
    "Grounding DINO": ("train.jsonl", {"filename": "1.jpg", "detection": {"instances": []}}),
    "PaliGemma or Florence-2": ("train.jsonl", {"image": "1.jpg", "prefix": "", "suffix": ""}),
}


@pytest.mark.parametrize("tool", FILES)
def test_json_of_another_tool_is_refused_by_its_name(tool, tmp_path):
    name, content = FILES[tool]
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    message = re.escape(f"{name} is in the format of {tool}, which is not read: export COCO")
    with pytest.raises(ValueError, match=message):
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


@pytest.mark.parametrize("name", ["boxes.csv", "packs.ndjson", "out.manifest", "packs.tfrecord"])
def test_a_file_of_another_kind_is_refused_by_its_name_and_in_its_folder(name, tmp_path):
    (tmp_path / name).write_text("{}\n")
    kind = name.partition(".")[2].upper()
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match=f"{name} is a {kind}, which is not read: export"):
            load_split(source, "train")


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
