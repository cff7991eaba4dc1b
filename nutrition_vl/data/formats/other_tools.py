"""Names the annotation tools whose own formats are not read, and the export to choose instead."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from nutrition_vl.data.rows import read_json

# The keys by which a tool's JSON is known: of the object, or of its first entry.
SIGNS = {
    "LabelMe": {"shapes", "imagePath"},
    "VGG Image Annotator": {"regions", "filename"},
    "VGG Image Annotator (project)": {"_via_img_metadata"},
    "VGG Image Annotator 3": {"project", "file", "metadata", "view"},
    "CreateML": {"image", "annotations"},
    "Datumaro": {"categories", "items"},
    "Supervisely": {"size", "objects"},
    "Supervisely (project)": {"classes", "tags", "projectType"},
    "PaliGemma or Florence-2": {"image", "prefix", "suffix"},
    "Label Studio's JSON-MIN": {"id", "image", "label"},
    "Labelbox": {"data_row", "projects"},
    "Labelbox (JSON)": {"Labeled Data", "Label"},
    "SageMaker Ground Truth": {"source-ref"},
    "Vertex AI": {"imageGcsUri"},
    "Azure Machine Learning": {"image_url", "label"},
    "V7 Darwin": {"item", "annotations"},
    "VoTT": {"assets", "tags"},
    "FiftyOne": {"classes", "labels"},
    "FiftyOne (samples)": {"samples"},
    "Scale AI": {"task_id", "params"},
    "BDD100K": {"name", "labels"},
    "OpenLABEL": {"openlabel"},
    "Detectron2": {"file_name", "annotations"},
    "Grounding DINO": {"filename", "detection"},
}
OURS = {"messages", "conversations"}  # such rows are read, with any keys next to these
# Suffixes of label files that no reader opens.
UNREAD = (".csv", ".tsv", ".ndjson", ".manifest", ".tfrecord")
ADVICE = "which is not read: export COCO, YOLO or Pascal VOC instead"


def refuse_other_tools(file: Path, content: Any) -> None:
    """ValueError with the tool's name if a file's content is in such a format."""
    rows = content.values() if isinstance(content, Mapping) else content
    first = islice(rows, 1) if isinstance(rows, Iterable) else ()
    for entry in (content, *first):
        keys = entry.keys() if isinstance(entry, Mapping) else set()
        for tool, sign in SIGNS.items():
            if sign <= keys and not OURS & keys:
                raise ValueError(f"{file} is in the format of {tool}, {ADVICE}")


def refuse_other_files(place: Path) -> None:
    """ValueError for JSON of another tool or a file of UNREAD, there or anywhere below."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    for file in islice((file for file in files if file.suffix == ".json"), 1):
        refuse_other_tools(file, read_json(file))
    for file in files:
        if file.suffix.lower() in UNREAD:
            raise ValueError(f"{file} is a {file.suffix[1:].upper()}, {ADVICE}")
