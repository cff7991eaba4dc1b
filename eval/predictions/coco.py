"""Reads COCO results, the list of boxes that detectors of every kind write."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from eval.predictions.fields import check_boxes, check_scores
from eval.predictions.predictions import Prediction, Truth
from nutrition_vl.boxes import LABELS

KEYS = {"image_id", "category_id", "bbox", "score"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Numbers:
    """What the numbers in results stand for: photo ids, class names, and our labels of these."""

    photos: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[int, str] = field(default_factory=lambda: dict(enumerate(LABELS)))
    labels: Mapping[str, str] = field(default_factory=lambda: {name: name for name in LABELS})


def read_coco(
    file: Path,
    truths: Sequence[Truth],
    data: str | None = None,
    split: str = "val",
    label: str | None = None,
) -> list[Prediction]:
    """COCO results: a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.

    Numbers are those of `data` where it is COCO instances or YOLO; otherwise `image_id` is the
    photo's id and `category_id` the index of its label. Boxes of classes that are no label are
    left out with a warning. Photos that are not listed have no boxes.
    https://cocodataset.org/#format-results
    """
    entries = [*_entries(file)]
    numbers = _numbers(data, split, label, {entry["category_id"] for _, entry in entries}, file)
    of_photo: dict[str, list[tuple[str, dict]]] = {truth.id: [] for truth in truths}
    unknown: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    others: Counter[str] = Counter()
    for where, entry in entries:
        name = _class_of(entry["category_id"], numbers, where)
        photo = numbers.photos.get(str(entry["image_id"]), str(entry["image_id"]))
        place = of_photo if photo in of_photo else unknown
        listed = place[photo]
        if name in numbers.labels:
            listed.append((where, entry))
        else:
            others[name] += 1
    warn_of_others(file, others)
    return [
        _prediction(str(file), photo, listed, numbers)
        for photo, listed in (of_photo | unknown).items()
    ]


def warn_of_others(file: Path, others: Counter[str]) -> None:
    """Logs how many boxes of other classes are left out."""
    if others:
        counts = ", ".join(f"{count} of {name}" for name, count in sorted(others.items()))
        logger.warning("%s: left out the boxes of other classes: %s", file, counts)


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
        _, _, width, height = check_boxes([entry["bbox"]], where)[0]
        if width < 0 or height < 0:
            raise ValueError(f"{where}: bbox is x, y, width, height, not {entry['bbox']}")
        check_scores([entry["score"]], where)
        yield where, entry


def _class_of(number: int, numbers: Numbers, where: str) -> str:
    if number not in numbers.classes:
        declared = ", ".join(map(str, numbers.classes))
        raise ValueError(f"{where}: category_id {number} is none of {declared}")
    return numbers.classes[number]


def _prediction(
    file: str, photo: str, listed: list[tuple[str, dict]], numbers: Numbers
) -> Prediction:
    boxes = [entry["bbox"] for _, entry in listed]
    names = [numbers.classes[entry["category_id"]] for _, entry in listed]
    return Prediction(
        photo=photo,
        xyxy=[[x, y, x + width, y + height] for x, y, width, height in boxes],
        labels=[numbers.labels[name] for name in names],
        confidence=[entry["score"] for _, entry in listed],
        where=listed[0][0] if listed else file,
    )


def _numbers(
    data: str | None, split: str, label: str | None, used: set[int], file: Path
) -> Numbers:
    if data is None:
        return Numbers()
    # Here and not above: with it comes `datasets`, which other files need not wait for.
    from nutrition_vl.data.classes import renaming
    from nutrition_vl.data.sources import annotation_file, numbered_classes

    instances = annotation_file(data, split)
    content = _json(instances) if instances else None
    if isinstance(content, dict):
        photos = _photo_ids(content["images"])
        classes = {entry["id"]: str(entry["name"]).strip() for entry in content["categories"]}
    else:
        photos, classes = {}, numbered_classes(data) or dict(enumerate(LABELS))
        _require_one_numbering(classes, used, file, data)
        if len(classes) == 1:
            classes = dict.fromkeys(used, *classes.values())
    # A single class is the table, whatever its name; of several, those that are none of ours go.
    names = {*classes.values()}
    labels = renaming(names if len(names) == 1 else set(), names, data, label)
    return Numbers(photos, classes, labels)


def _require_one_numbering(
    classes: Mapping[int, str], used: set[int], file: Path, data: str
) -> None:
    """ValueError where YOLO's classes, from 0, may be numbered from 1 in the results.

    Ultralytics' own predictions.json numbers them from 1.
    """
    ours = classes == dict(enumerate(LABELS[: len(classes)]))
    if ours or (len(classes) == 1 and len(used) <= 1) or 0 in used or not used:
        return
    raise ValueError(
        f"{file}: its category_ids may be counted from 0 or from 1, and {data} has the classes"
        f" {', '.join(classes.values())}: give COCO instances as --data, or JSON lines with labels"
    )


def _photo_ids(images: list[dict]) -> dict[str, str]:
    """The loader's ids by the numbers of COCO's images, as text: some tools write "1" for 1."""
    from nutrition_vl.data.paths import posix
    from nutrition_vl.data.rows import unique

    paths = {str(image["id"]): PurePosixPath(posix(image["file_name"])) for image in images}
    order = sorted(paths, key=lambda number: paths[number])  # the loader numbers in this order
    return dict(zip(order, unique(paths[number].stem for number in order), strict=True))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
