"""Reads COCO results, the list of boxes that detectors of every kind write."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.predictions.fields import check_boxes, check_scores
from eval.predictions.predictions import Prediction, Truth
from nutrition_vl.boxes import LABELS

KEYS = {"image_id", "category_id", "bbox", "score"}


def read_coco(file: Path, truths: Sequence[Truth], data: str | None) -> Iterator[Prediction]:
    """COCO results: a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.

    Numbers are as in `data` if that is COCO instances; otherwise `image_id` is the photo's id and
    `category_id` the index of its label.
    Photos that are not listed have no boxes. https://cocodataset.org/#format-results
    """
    photos, labels = _names(data)
    of_photo: dict[str, list[tuple[str, dict]]] = {truth.id: [] for truth in truths}
    unknown: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    for where, entry in _entries(file):
        name = photos.get(entry["image_id"], str(entry["image_id"]))
        (of_photo if name in of_photo else unknown)[name].append((where, entry))
    for name, listed in (of_photo | unknown).items():
        yield _prediction(str(file), name, listed, labels)


def _entries(file: Path) -> Iterator[tuple[str, dict]]:
    entries = _json(file)
    if not isinstance(entries, list):
        raise ValueError(f"{file} is no list of COCO results")
    for number, entry in enumerate(entries, 1):
        where = f"{file}, entry {number}"
        if not isinstance(entry, dict) or not entry.keys() >= KEYS:
            raise ValueError(f"{where}: needs {', '.join(sorted(KEYS))}")
        photo, label = entry["image_id"], entry["category_id"]
        if not isinstance(photo, int | str) or not isinstance(label, int):
            raise ValueError(f"{where}: image_id and category_id name one photo and one label")
        check_boxes([entry["bbox"]], where)
        check_scores([entry["score"]], where)
        yield where, entry


def _prediction(
    file: str, photo: str, listed: list[tuple[str, dict]], labels: dict[int, str]
) -> Prediction:
    for where, entry in listed:
        if entry["category_id"] not in labels:
            declared = ", ".join(map(str, labels))
            raise ValueError(f"{where}: category_id {entry['category_id']} is none of {declared}")
    boxes = [entry["bbox"] for _, entry in listed]
    return Prediction(
        photo=photo,
        xyxy=[[x, y, x + width, y + height] for x, y, width, height in boxes],
        labels=[labels[entry["category_id"]] for _, entry in listed],
        confidence=[entry["score"] for _, entry in listed],
        where=listed[0][0] if listed else file,
    )


def _names(data: str | None) -> tuple[dict[Any, str], dict[int, str]]:
    """The photos' and the labels' names by number, as the data set's own file has them."""
    content = _json(Path(data)) if data and data.endswith(".json") else None
    if not isinstance(content, dict):
        return {}, dict(enumerate(LABELS))
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    # As the loader has it: a name that is none of ours belongs to an only class, the table.
    labels = {kind: name if name in LABELS else LABELS[0] for kind, name in names.items()}
    # Here and not above: with it comes `datasets`, which other files need not wait for.
    from nutrition_vl.data.rows import unique

    images = sorted(content["images"], key=lambda image: image["file_name"])  # as the loader does
    ids = unique(Path(image["file_name"]).stem for image in images)
    return {image["id"]: name for image, name in zip(images, ids, strict=True)}, labels


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
