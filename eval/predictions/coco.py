"""Reads COCO results, the list of boxes that detectors of every kind write, and COCO instances."""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.predictions.fields import check_boxes, check_scores
from eval.predictions.predictions import Prediction, Truth, match_id
from nutrition_vl.boxes import LABELS
from nutrition_vl.data.classes import coco_classes, renaming, warn_of_others
from nutrition_vl.data.formats.coco_checks import CocoPhoto, require_corner_and_size
from nutrition_vl.data.ids import coco_id
from nutrition_vl.data.rows import naming, read_json, require

KEYS = {"image_id", "category_id", "bbox", "score"}


@dataclass(frozen=True)
class Numbers:
    """The meaning of numbers in results: photo ids, class names, and our labels of these."""

    photos: Mapping[Hashable, str] = field(default_factory=dict)
    classes: Mapping[Hashable, str] = field(default_factory=lambda: dict(enumerate(LABELS)))
    labels: Mapping[str, str] = field(default_factory=lambda: {name: name for name in LABELS})


def read_coco(
    file: Path,
    content: list,
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
    entries = [*_entries(content, file)]
    used = {coco_id(entry["category_id"]) for _, entry in entries}
    numbers = _numbers(data, split, label, used, file)
    of_photo: dict[str, list[tuple[str, dict]]] = {truth.id: [] for truth in truths}
    unknown: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    others: Counter[str] = Counter()
    for where, entry in entries:
        name = _class_of(entry["category_id"], numbers, where)
        photo = _photo_of(entry["image_id"], numbers, of_photo)
        place = of_photo if photo in of_photo else unknown
        listed = place[photo]
        if name in numbers.labels:
            listed.append((where, entry))
        else:
            others[name] += 1
    warn_of_others(file, others)
    predictions = [
        _prediction(str(file), photo, listed, numbers)
        for photo, listed in (of_photo | unknown).items()
    ]
    sizes = {truth.id: (round(truth.width), round(truth.height)) for truth in truths}
    known = [one for one in predictions if one.photo in sizes]
    photos = [CocoPhoto(None, one.photo, sizes[one.photo], one.xyxy, one.labels) for one in known]
    require_corner_and_size(photos, file)
    return predictions


def instances_as_lines(file: Path, content: Any) -> list[dict[str, Any]]:
    """The photos of COCO instances with a score per box, as lines of `python -m nutrition_vl`.

    So `nutrition_vl.export` writes answers, without the photos that were not read.
    """
    require(("images", "annotations", "categories"), content, file)
    boxes: dict[Hashable, list[dict]] = defaultdict(list)
    with naming(file):
        names = {coco_id(one["id"]): str(one["name"]).strip() for one in content["categories"]}
        for entry in content["annotations"]:
            if "score" not in entry:
                raise ValueError(f"{file} holds labels: as predictions, its boxes need a score")
            x, y, width, height = entry["bbox"]
            box = {"xyxy": [x, y, x + width, y + height], "confidence": entry["score"]}
            name = names[coco_id(entry["category_id"])]
            boxes[coco_id(entry["image_id"])].append(box | {"label": name})
        return [
            {"photo": one["file_name"], "boxes": boxes[coco_id(one["id"])]}
            | {side: one[side] for side in ("width", "height") if side in one}
            for one in content["images"]
        ]


def _entries(entries: list, file: Path) -> Iterator[tuple[str, dict]]:
    for number, entry in enumerate(entries, 1):
        where = f"{file}, entry {number}"
        if not isinstance(entry, dict) or not entry.keys() >= KEYS:
            raise ValueError(f"{where}: needs {', '.join(sorted(KEYS))}")
        photo, label = entry["image_id"], entry["category_id"]
        if coco_id(photo) is None or coco_id(label) is None:
            raise ValueError(f"{where}: image_id and category_id name one photo and one label")
        _, _, width, height = check_boxes([entry["bbox"]], where)[0]
        if width < 0 or height < 0:
            raise ValueError(f"{where}: bbox is x, y, width, height, not {entry['bbox']}")
        check_scores([entry["score"]], where)
        yield where, entry


def _class_of(number: object, numbers: Numbers, where: str) -> str:
    if coco_id(number) not in numbers.classes:
        declared = ", ".join(map(str, numbers.classes))
        raise ValueError(f"{where}: category_id {number} is none of {declared}")
    return numbers.classes[coco_id(number)]


def _photo_of(number: object, numbers: Numbers, ids: Collection[str]) -> str:
    """The photo's id by its number in the data set, else by its name."""
    return numbers.photos.get(coco_id(number)) or match_id(str(number), ids) or str(number)


def _prediction(
    file: str, photo: str, listed: list[tuple[str, dict]], numbers: Numbers
) -> Prediction:
    boxes = [entry["bbox"] for _, entry in listed]
    names = [numbers.classes[coco_id(entry["category_id"])] for _, entry in listed]
    return Prediction(
        photo=photo,
        xyxy=[[x, y, x + width, y + height] for x, y, width, height in boxes],
        labels=[numbers.labels[name] for name in names],
        confidence=[entry["score"] for _, entry in listed],
        where=listed[0][0] if listed else file,
    )


def _numbers(
    data: str | None, split: str, label: str | None, used: set[Hashable], file: Path
) -> Numbers:
    if data is None:
        return Numbers()
    # Here and not above: with it comes `datasets`, which other files need not wait for.
    from nutrition_vl.data.sources import annotation_file, numbered_classes

    instances = annotation_file(data, split)
    content = read_json(instances) if instances else None
    classes: dict[Hashable, str]
    if instances and isinstance(content, dict):
        photos, categories = _photo_ids(instances, content, split), content["categories"]
        classes = {coco_id(entry["id"]): str(entry["name"]).strip() for entry in categories}
        boxes = [entry for entry in content["annotations"] if isinstance(entry, dict)]
        true = {classes.get(coco_id(entry.get("category_id")), "") for entry in boxes}
        names = coco_classes(categories, true)
    else:
        photos, classes = {}, dict(enumerate(LABELS))
        if numbered := numbered_classes(data):
            classes = dict(numbered.items())
        _require_one_numbering(classes, used, file, data)
        if len(classes) == 1:
            classes = dict.fromkeys(used, *classes.values())
        names = {*classes.values()}
    # A single class is the table under any name; of several, those that are none of ours go.
    labels = renaming(names if len(names) == 1 else set(), names, data, label)
    return Numbers(photos, classes, labels)


def _require_one_numbering(
    classes: Mapping[Hashable, str], used: set[Hashable], file: Path, data: str
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


def _photo_ids(instances: Path, content: Mapping, split: str) -> dict[Hashable, str]:
    """The loader's ids by COCO's numbers; the file's name of a photo that the loader skips."""
    from nutrition_vl.data.sources import read_samples

    images = [entry for entry in content["images"] if isinstance(entry, dict)]
    names = {coco_id(image.get("id")): str(image.get("file_name")) for image in images}
    samples = read_samples(instances, split, skipped=[])
    return names | {sample.number: sample.id for sample in samples}
