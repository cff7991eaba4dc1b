"""Reads Label Studio's own JSON export: tasks with rectangles in percent of the photo."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from nutrition_vl.data.paths import is_photo, locate, posix
from nutrition_vl.data.rows import (
    Sample,
    Skipped,
    attempt,
    is_number,
    size_of,
    without_shared_photos,
)

SIDES = ("x", "y", "width", "height")
# Uploads are stored under eight hex digits and the file's name.
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")


def is_label_studio(entries: list) -> bool:
    """True for tasks as Label Studio exports them."""
    return any(
        isinstance(one, Mapping) and {"data", "annotations"} <= one.keys() for one in entries
    )


def read_label_studio(
    file: Path, tasks: list, skipped: list[Skipped] | None = None
) -> list[Sample]:
    """The photos of finished tasks; others are skipped, by name.

    Raises ValueError for drawings other than upright rectangles and for several opinions.
    """
    read = [
        (task, attempt(skipped, _name(task, n), _photo_name, task, file))
        for n, task in enumerate(tasks, 1)
    ]
    named = [(task, name) for task, name in read if name]
    paths = _paths(file, [name for _, name in named])
    samples = [
        attempt(skipped, name, _sample, task, path, file)
        for (task, name), path in zip(named, paths, strict=True)
    ]
    samples = without_shared_photos([sample for sample in samples if sample], skipped)
    classes = frozenset(label for sample in samples for label in sample.labels)
    return [replace(sample, classes=classes) for sample in samples]


def _paths(file: Path, names: list[str]) -> list[Path]:
    """Photos under the names of the uploads, or under those that they had before."""
    roots = (file.parent, file.parent / "images")
    stored = locate(names, roots)
    before = locate([_UPLOAD.sub("", Path(posix(name)).name) for name in names], roots)
    return [
        now if now.exists() or not earlier.exists() else earlier
        for now, earlier in zip(stored, before, strict=True)
    ]


def _name(task: object, number: int) -> str:
    return f"task {task.get('id', number) if isinstance(task, Mapping) else number}"


def _photo_name(task: Any, file: Path) -> str:
    data = task.get("data") if isinstance(task, Mapping) else None
    values = data.values() if isinstance(data, Mapping) else ()
    paths = [_local(value) for value in values if isinstance(value, str)]
    names = [path for path in paths if is_photo(path)]
    if len(names) != 1:
        raise ValueError(f"{file}: a task names {len(names)} photos in its data, expected one")
    return names[0]


def _local(value: str) -> str:
    """The path in /data/local-files/?d=PATH, else the value without a query."""
    parts = urlsplit(value)
    listed = parse_qs(parts.query).get("d")
    return listed[0] if listed else value.split("?")[0]


def _sample(task: Mapping, path: Path, file: Path) -> Sample:
    where = f"{file}, {path.name}"
    done = [
        one
        for one in task.get("annotations") or []
        if isinstance(one, Mapping) and not one.get("was_cancelled")
    ]
    if len(done) != 1:
        raise ValueError(f"{where}: expected one finished annotation, got {len(done)}")
    results = done[0].get("result")
    if not isinstance(results, list):
        raise ValueError(f"{where}: its annotation has no result")
    boxes = [_box(result, where) for result in results if _is_drawn(result, where)]
    sizes = {size for _, _, size in boxes}
    if len(sizes) > 1:
        raise ValueError(f"{where}: its boxes are drawn on several sizes")
    size = next(iter(sizes), None)
    return Sample(
        id=path.stem,
        image=str(path),
        xyxy=[box for _, box, _ in boxes],
        labels=[label for label, _, _ in boxes],
        normalized=size is None,
        stored_size=size,
        file=str(file),
        unturned_size=True,
    )


def _is_drawn(result: Any, where: str) -> bool:
    """True for shapes, not for choices, ratings and texts about the whole photo."""
    if isinstance(result, Mapping) and result.get("type") == "relation":
        return False
    value = result.get("value") if isinstance(result, Mapping) else None
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: a result has no value: {str(result)[:60]}")
    shapes = {*SIDES, "points", "rle", "format"}
    return any(key in shapes or str(key).endswith("labels") for key in value)


def _box(result: Mapping, where: str) -> tuple[str, list[float], tuple[int, int] | None]:
    """Label, box and photo size; the box is in shares of the sides where the size is missing."""
    value = result["value"]
    labels = value.get("rectanglelabels") or value.get("labels")
    numbers = [value.get(side) for side in SIDES]
    if not all(map(is_number, numbers)):
        raise ValueError(f"{where}: expected rectangles, got {result.get('type')}")
    if value["width"] <= 0 or value["height"] <= 0:
        raise ValueError(f"{where}: a box is {value['width']} x {value['height']} percent")
    if value.get("rotation") or result.get("image_rotation"):
        raise ValueError(f"{where}: a box is turned by an angle: expected upright rectangles")
    if not isinstance(labels, list) or len(labels) != 1:
        raise ValueError(f"{where}: a box has the labels {labels}, expected one")
    size = size_of(result.get("original_width"), result.get("original_height"))
    across, down = size or (1, 1)
    x, y, width, height = (number / 100 for number in numbers)
    box = [x * across, y * down, (x + width) * across, (y + height) * down]
    return str(labels[0]).strip(), box, size
