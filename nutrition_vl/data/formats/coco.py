"""Reads COCO instances. Only `bbox` is read: polygons and masks are never decoded.

supervision's reader (0.31) is not used: it decodes every mask (7.1 GB for 300 photos) and stops at
the first annotation that it cannot read.
"""

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Set
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from nutrition_vl.data.classes import coco_classes
from nutrition_vl.data.formats.coco_checks import (
    CocoPhoto,
    annotation_problem,
    require_corner_and_size,
    require_same_ids,
)
from nutrition_vl.data.ids import coco_id
from nutrition_vl.data.paths import locate
from nutrition_vl.data.rows import Sample, Skipped, of_split, require, size_of, skip

KEYS = ("images", "annotations", "categories")
# Folders that tools put an annotation file into, away from the photos.
APART = {"annotations", "labels", "result", "results"}


def read_coco(
    file: Path, content: Mapping, split: str, skipped: list[Skipped] | None = None
) -> list[Sample]:
    """The photos of COCO instances, next to the file or in folders around it.

    Raises ValueError for a file whose ids or boxes cannot be trusted as a whole.
    """
    require(KEYS, content, file)
    lists = {key: _entries(content, key, file) for key in KEYS}
    names = _categories(lists["categories"], file)
    photos = _photos(_of_split(lists["images"], split, file, skipped), file, skipped)
    if photos and not lists["annotations"]:
        raise ValueError(
            f"{file} lists {len(photos)} photos and no annotation: are they elsewhere?"
        )
    aside = {coco_id(entry.get("id")) for entry in lists["images"] if isinstance(entry, Mapping)}
    require_same_ids(lists["annotations"], "image_id", aside - {None}, file)
    require_same_ids(lists["annotations"], "category_id", names, file)
    _add_boxes(lists["annotations"], photos, aside, names, file, skipped)
    require_corner_and_size(photos.values(), file)
    used = {label for photo in photos.values() for label in photo.labels}
    classes = frozenset(coco_classes(lists["categories"], used))
    unturned = "label studio" in str(content.get("info")).lower()
    base = Sample("", "", [], [], False, file=str(file), classes=classes, unturned_size=unturned)
    return _samples(list(photos.values()), base, file, skipped)


def _entries(content: Mapping, key: str, file: Path) -> list:
    if not isinstance(content[key], list):
        raise ValueError(f"{file}: {key} must be a list, not {str(content[key])[:40]}")
    return content[key]


def _of_split(entries: list, split: str, file: Path, skipped: list[Skipped] | None) -> list:
    """The images of the split; `_photos` names those that are no objects."""
    objects = [entry for entry in entries if isinstance(entry, Mapping)]
    chosen = {id(entry) for entry in of_split(objects, split, file, skipped)}
    return [one for one in entries if not isinstance(one, Mapping) or id(one) in chosen]


def _categories(entries: list, file: Path) -> dict[Hashable, str]:
    names: dict[Hashable, str] = {}
    for entry in entries:
        require(("id", "name"), entry, f"a category of {file}")
        if not isinstance(entry["name"], str | int) or not str(entry["name"]).strip():
            raise ValueError(f"{file}: the category {entry['id']} has the name {entry['name']!r}")
        if coco_id(entry["id"]) in names:
            raise ValueError(f"{file} has two categories with the id {entry['id']}")
        names[coco_id(entry["id"])] = str(entry["name"]).strip()
    return names


def _photos(entries: list, file: Path, skipped: list[Skipped] | None) -> dict[Hashable, CocoPhoto]:
    ids = Counter(coco_id(entry.get("id")) for entry in entries if isinstance(entry, Mapping))
    names = Counter(str(entry.get("file_name")) for entry in entries if isinstance(entry, Mapping))
    photos: dict[Hashable, CocoPhoto] = {}
    for number, entry in enumerate(entries, 1):
        problem = _image_problem(entry, ids, names)
        if problem:
            name = entry.get("file_name") if isinstance(entry, Mapping) else None
            skip(skipped, name or f"image {number}", f"{file}, image {number}: {problem}")
            continue
        size = size_of(entry.get("width"), entry.get("height"))
        key = coco_id(entry["id"])
        photos[key] = CocoPhoto(key, entry["file_name"], size, [], [])
    return photos


def _image_problem(entry: Any, ids: Counter, names: Counter) -> str:
    if not isinstance(entry, Mapping):
        return f"expected an object, got {str(entry)[:40]}"
    name, key = entry.get("file_name"), coco_id(entry.get("id"))
    if not isinstance(name, str) or not name.strip():
        return f"it lacks file_name: it has {', '.join(map(str, entry)) or 'nothing'}"
    if key is None:
        return f"{name} has no id" if "id" not in entry else f"{name} has the id {entry['id']!r}"
    if ids[key] > 1:
        return f"{name} has the id {key} of another photo: whose boxes are they?"
    return f"{name} is listed {names[name]} times" if names[name] > 1 else ""


def _add_boxes(
    annotations: list,
    photos: dict[Hashable, CocoPhoto],
    aside: Set[Hashable],
    names: dict[Hashable, str],
    file: Path,
    skipped: list[Skipped] | None,
) -> None:
    orphans: Counter[Hashable] = Counter()
    for number, entry in enumerate(annotations, 1):
        key = coco_id(entry.get("image_id")) if isinstance(entry, Mapping) else None
        if key is None:
            orphans[None] += 1
            problem = f"{file}, annotation {number}: it has no image_id"
            skip(skipped, f"annotation {number}", problem)
        elif photo := photos.get(key):
            problem = annotation_problem(entry, names)
            if problem:
                named = f"{file}, annotation {entry.get('id', number)} of {photo.name}: {problem}"
                photo.problem = photo.problem or named
                continue
            x, y, width, height = entry["bbox"]
            photo.boxes.append([x, y, x + width, y + height])
            photo.labels.append(names[coco_id(entry["category_id"])])
        elif key not in aside:
            orphans[key] += 1
    for key in orphans.keys() - {None}:
        problem = f"{orphans[key]} annotations belong to no photo, as no image has the id {key}"
        skip(skipped, f"image_id {key}", f"{file}: {problem}")
    for photo in photos.values() if orphans else ():
        if not photo.labels:  # whose are the others?
            photo.problem = photo.problem or (
                f"{file}: {photo.name} has no annotation, and {orphans.total()} annotations belong "
                "to no photo"
            )


def _samples(
    photos: list[CocoPhoto], base: Sample, file: Path, skipped: list[Skipped] | None
) -> list[Sample]:
    paths = locate([photo.name for photo in photos], roots(file))
    samples = []
    for path, photo in sorted(zip(paths, photos, strict=True), key=itemgetter(0)):
        if photo.problem:
            skip(skipped, photo.name, photo.problem)
            continue
        samples.append(
            replace(
                base,
                id=path.stem,
                image=str(path),
                xyxy=photo.boxes,
                labels=photo.labels,
                stored_size=photo.size,
                number=photo.number,
            )
        )
    return samples


def roots(file: Path) -> list[Path]:
    """Where photos of an annotation file may lie, the likeliest first."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.stem) if word]
    tops = [file.parent] + [file.parent.parent] * (file.parent.name.lower() in APART)
    places = [place for top in tops for place in (top, top / "images", top / "data")]
    return [*places, *(place / word for place in places for word in words)]
