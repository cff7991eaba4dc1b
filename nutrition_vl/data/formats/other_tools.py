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
    "CreateML": {"image", "annotations"},
    "Datumaro": {"categories", "items"},
    "Supervisely": {"size", "objects"},
    "PaliGemma or Florence-2": {"image", "prefix", "suffix"},
    "Label Studio's JSON-MIN": {"id", "image", "label"},
}
OURS = {"messages", "conversations"}  # such rows are read, with any keys next to these
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


def refuse_other_files(folder: Path) -> None:
    """ValueError if a folder without a format of ours holds JSON of another tool, or CSV."""
    for file in islice(sorted(folder.rglob("*.json")), 1):
        refuse_other_tools(file, read_json(file))
    for file in islice(sorted(folder.rglob("*.csv")), 1):
        raise ValueError(f"{file} is a CSV, {ADVICE}")
