"""Reads COCO instances. Only `bbox` is read: polygons and masks are never decoded.

supervision's reader (0.31) is not used: it decodes every mask (7.1 GB for 300 photos) and stops at
the first annotation that it cannot read.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nutrition_vl.boxes import LABELS
from nutrition_vl.data.paths import locate
from nutrition_vl.data.rows import Sample, Skipped, is_number, require, size_of, skip

KEYS = ("images", "annotations", "categories")
REACH = 1.1  # of the photo's sides: careless boxes end a little outside, boxes of corners far
# Folders that tools put an annotation file into, away from the photos.
APART = {"annotations", "labels", "result", "results"}


@dataclass
class _Photo:
    """An entry of `images` with the boxes and the first problem of its annotations."""

    name: str
    size: tuple[int, int] | None
    boxes: list[list[float]]
    labels: list[str]
    problem: str = ""


def read_coco(file: Path, content: Mapping, skipped: list[Skipped] | None = None) -> list[Sample]:
    """The photos of COCO instances, next to the file or in folders around it.

    Raises ValueError for a file whose ids or boxes cannot be trusted as a whole.
    """
    require(KEYS, content, file)
    lists = {key: _entries(content, key, file) for key in KEYS}
    names = _categories(lists["categories"], file)
    photos = _photos(lists["images"], file, skipped)
    if photos and not lists["annotations"]:
        raise ValueError(
            f"{file} lists {len(photos)} photos and no annotation: are they elsewhere?"
        )
    _require_same_ids(lists["annotations"], "image_id", photos, file)
    _require_same_ids(lists["annotations"], "category_id", names, file)
    _add_boxes(lists["annotations"], photos, names, file, skipped)
    _require_sizes_not_corners(photos.values(), file)
    used = {label for photo in photos.values() for label in photo.labels}
    base = Sample(
        id="",
        image="",
        xyxy=[],
        labels=[],
        normalized=False,
        file=str(file),
        classes=frozenset(_declared(lists["categories"], used)),
        unturned_size="label studio" in str(content.get("info")).lower(),
    )
    return _samples(list(photos.values()), base, file, skipped)


def _entries(content: Mapping, key: str, file: Path) -> list:
    if not isinstance(content[key], list):
        raise ValueError(f"{file}: {key} must be a list, not {str(content[key])[:40]}")
    return content[key]


def _id(value: object) -> Hashable:
    """Ids as one type: tools write 1, 1.0 and "1" for the same photo."""
    if type(value) is int:  # half a million calls for 100,000 annotations
        return value
    if isinstance(value, str) and re.fullmatch(r"0|[1-9]\d{0,17}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return value  # 1.0 == 1, also as a key


def _categories(entries: list, file: Path) -> dict[Hashable, str]:
    names: dict[Hashable, str] = {}
    for entry in entries:
        require(("id", "name"), entry, f"a category of {file}")
        if _id(entry["id"]) in names:
            raise ValueError(f"{file} has two categories with the id {entry['id']}")
        names[_id(entry["id"])] = str(entry["name"]).strip()
    return names


def _declared(categories: list, used: set[str]) -> set[str]:
    """The class names, without the unused one by which Roboflow groups the others."""
    pairs = [(str(one["name"]).strip(), str(one.get("supercategory"))) for one in categories]
    groups = {group for name, group in pairs if group != name} - used - set(LABELS)
    return {name for name, _ in pairs} - groups


def _photos(entries: list, file: Path, skipped: list[Skipped] | None) -> dict[Hashable, _Photo]:
    ids = Counter(_id(entry.get("id")) for entry in entries if isinstance(entry, Mapping))
    names = Counter(str(entry.get("file_name")) for entry in entries if isinstance(entry, Mapping))
    photos: dict[Hashable, _Photo] = {}
    for number, entry in enumerate(entries, 1):
        problem = _image_problem(entry, ids, names)
        if problem:
            name = entry.get("file_name") if isinstance(entry, Mapping) else None
            skip(skipped, name or f"image {number}", f"{file}, image {number}: {problem}")
            continue
        size = size_of(entry.get("width"), entry.get("height"))
        photos[_id(entry["id"])] = _Photo(entry["file_name"], size, [], [])
    return photos


def _image_problem(entry: Any, ids: Counter, names: Counter) -> str:
    if not isinstance(entry, Mapping):
        return f"expected an object, got {str(entry)[:40]}"
    name, key = entry.get("file_name"), _id(entry.get("id"))
    if not isinstance(name, str) or not name.strip():
        return f"it lacks file_name: it has {', '.join(map(str, entry)) or 'nothing'}"
    if key is None:
        return f"{name} has no id" if "id" not in entry else f"{name} has the id {entry['id']!r}"
    if ids[key] > 1:
        return f"{name} has the id {key} of another photo: whose boxes are they?"
    return f"{name} is listed {names[name]} times" if names[name] > 1 else ""


def _require_same_ids(annotations: list, key: str, known: Iterable[Hashable], file: Path) -> None:
    """ValueError where annotations count their ids from another first number."""
    used = {_id(entry.get(key)) for entry in annotations if isinstance(entry, Mapping)} - {None}
    known = set(known)
    if not used or used <= known:
        return
    shifted = all(isinstance(value, int | float) for value in used) and any(
        {value + by for value in used} <= known  # type: ignore[operator]
        for by in (1, -1)
    )
    if shifted or not used & known:
        listed = "images" if key == "image_id" else "categories"
        raise ValueError(
            f"{file}: the {key}s of its annotations ({_some(used)}) are not the ids of its "
            f"{listed} ({_some(known)})" + (": they seem one off" if shifted else "")
        )


def _some(values: set) -> str:
    first = sorted(map(str, values), key=lambda text: (len(text), text))
    return ", ".join(first[:3]) + (", ..." if len(first) > 3 else "") if first else "none"


def _add_boxes(
    annotations: list,
    photos: dict[Hashable, _Photo],
    names: dict[Hashable, str],
    file: Path,
    skipped: list[Skipped] | None,
) -> None:
    orphans: dict[Hashable, int] = defaultdict(int)
    for number, entry in enumerate(annotations, 1):
        key = _id(entry.get("image_id")) if isinstance(entry, Mapping) else None
        if key is None:
            problem = f"{file}, annotation {number}: it has no image_id"
            skip(skipped, f"annotation {number}", problem)
        elif photo := photos.get(key):
            problem = _annotation_problem(entry, names)
            if problem:
                named = f"{file}, annotation {entry.get('id', number)} of {photo.name}: {problem}"
                photo.problem = photo.problem or named
                continue
            x, y, width, height = entry["bbox"]
            photo.boxes.append([x, y, x + width, y + height])
            photo.labels.append(names[_id(entry["category_id"])])
        else:
            orphans[key] += 1
    for key, count in orphans.items():
        problem = f"{file}: {count} annotations belong to no photo, as no image has the id {key}"
        skip(skipped, f"image_id {key}", problem)


def _annotation_problem(entry: Mapping, names: dict[Hashable, str]) -> str:
    box = entry.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
        return f"bbox must be four numbers x, y, width, height, not {str(box)[:60]}"
    if _id(entry.get("category_id")) not in names:
        return f"no category has its category_id {entry.get('category_id')!r}"
    if all(abs(number) <= 1 for number in box):
        return f"bbox must be in pixels, not {box}"
    x0, y0, x1, y1 = box
    area = entry.get("area")
    if is_number(area) and not entry.get("segmentation") and x1 > x0 and y1 > y0:
        corners, sizes = (x1 - x0) * (y1 - y0), x1 * y1
        if abs(area - corners) <= 0.005 * corners and abs(area - sizes) > 0.02 * sizes:
            return f"bbox {box} holds two corners, going by its area of {area}, not x, y, w, h"
    return ""


def _require_sizes_not_corners(photos: Iterable[_Photo], file: Path) -> None:
    """ValueError for boxes that leave their photos as x, y, width, height, but not as corners."""
    beyond, first = 0, ""
    for photo in photos:
        for x0, y0, right, bottom in photo.boxes:
            x1, y1 = right - x0, bottom - y0  # as written
            width, height = photo.size or (float("inf"), float("inf"))
            if x1 <= x0 or y1 <= y0 or x1 > width + 1 or y1 > height + 1:
                return
            if right > REACH * width or bottom > REACH * height:
                beyond, first = beyond + 1, first or photo.name
    if beyond:
        raise ValueError(
            f"{file}: {beyond} boxes (the first of {first}) reach out of their photos as x, y, "
            "width, height, and all fit as x0, y0, x1, y1: write them as x, y, width, height"
        )


def _samples(
    photos: list[_Photo], base: Sample, file: Path, skipped: list[Skipped] | None
) -> list[Sample]:
    paths = locate([photo.name for photo in photos], _roots(file))
    samples = []
    for path, photo in sorted(zip(paths, photos, strict=True), key=lambda pair: pair[0]):
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
            )
        )
    return samples


def _roots(file: Path) -> list[Path]:
    """Where photos of an annotation file may lie, the likeliest first."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.stem) if word]
    tops = [file.parent] + [file.parent.parent] * (file.parent.name.lower() in APART)
    places = [place for top in tops for place in (top, top / "images", top / "data")]
    return [*places, *(place / word for place in places for word in words)]
