"""Checks of ids and boxes that decide if a COCO file is to be trusted."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nutrition_vl.data.ids import coco_id
from nutrition_vl.data.rows import is_box, is_number

FEW = 0.05  # of the boxes: fewer reach out by slips
REACH = 1.1  # of the photo's sides: careless boxes end a little outside, boxes of corners far


@dataclass
class CocoPhoto:
    """An entry of `images` with the boxes and the first problem of its annotations."""

    number: Hashable
    name: str
    size: tuple[int, int] | None
    boxes: list[list[float]]
    labels: list[str]
    problem: str = ""


def require_same_ids(
    annotations: list, key: str, listed_ids: Iterable[Hashable], file: Path
) -> None:
    """ValueError where annotations count their ids from another first number."""
    used = {coco_id(entry.get(key)) for entry in annotations if isinstance(entry, Mapping)} - {None}
    listed_ids = set(listed_ids)
    if not used or used <= listed_ids:
        return
    shifted = all(isinstance(value, int | float) for value in used) and any(
        {value + by for value in used} <= listed_ids  # type: ignore[operator]
        for by in (1, -1)
    )
    if shifted or not used & listed_ids:
        listed = "images" if key == "image_id" else "categories"
        raise ValueError(
            f"{file}: the {key}s of its annotations ({_some(used)}) are not the ids of its "
            f"{listed} ({_some(listed_ids)})" + (": they seem one off" if shifted else "")
        )


def _some(values: set) -> str:
    first = sorted(map(str, values), key=lambda text: (len(text), text))
    return ", ".join(first[:3]) + (", ..." if len(first) > 3 else "") if first else "none"


def annotation_problem(entry: Mapping, names: dict[Hashable, str]) -> str:
    box = entry.get("bbox")
    if not is_box(box):
        return f"bbox must be four numbers x, y, width, height, not {str(box)[:60]}"
    if coco_id(entry.get("category_id")) not in names:
        return f"no category has its category_id {entry.get('category_id')!r}"
    x0, y0, x1, y1 = box
    if max(box) <= 1 and min(box) >= -1:
        return f"bbox must be in pixels, not {box}"
    attributes = entry.get("attributes")
    if isinstance(attributes, Mapping) and attributes.get("rotation"):  # CVAT
        return f"its bbox is turned by {attributes['rotation']} degrees: expected an upright box"
    area = entry.get("area")
    if is_number(area) and not entry.get("segmentation") and x1 > x0 and y1 > y0:
        corners, sizes = (x1 - x0) * (y1 - y0), x1 * y1
        if abs(area - corners) <= 0.005 * corners and abs(area - sizes) > 0.02 * sizes:
            return f"bbox {box} holds two corners, going by its area of {area}, not x, y, w, h"
    return ""


def require_corner_and_size(photos: Iterable[CocoPhoto], file: Path) -> None:
    """ValueError for boxes that leave their photos as x, y, width, height, but not as they are
    meant: all fit as two corners, or all as centre and size."""
    beyond, count, first, forms = 0, 0, "", {"x0, y0, x1, y1", "centre and size"}
    for photo in photos:
        width, height = photo.size or (float("inf"), float("inf"))
        for x, y, right, bottom in photo.boxes:
            x1, y1 = right - x, bottom - y  # as written
            if x1 <= x or y1 <= y or x1 > width + 1 or y1 > height + 1:
                forms.discard("x0, y0, x1, y1")
            ends = (x1 / 2 - x, y1 / 2 - y, x + x1 / 2 - width, y + y1 / 2 - height)
            if max(ends) > 1:
                forms.discard("centre and size")
            count += 1
            if right > REACH * width or bottom > REACH * height:
                beyond, first = beyond + 1, first or photo.name
    if beyond <= FEW * count:
        forms.discard("centre and size")
    if beyond and forms:
        raise ValueError(
            f"{file}: {beyond} boxes (the first of {first}) reach out of their photos as x, y, "
            f"width, height, and all fit as {' or as '.join(sorted(forms, reverse=True))}: write "
            "them as x, y, width, height"
        )
