"""Applies corrections of labels while reading, so that the data itself stays as it is."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from datasets import Dataset

from nutrition_vl.boxes import LABELS
from nutrition_vl.data.rows import is_box, read_jsonl, require

logger = logging.getLogger(__name__)


def correct(
    rows: Dataset, entries: dict[str, dict], file: Path, split: str, whole: bool
) -> Dataset:
    """The rows of a split with boxes replaced and photos left out as the entries of `file` list.

    Raises ValueError for boxes outside their photo, and for photos that are not among the rows if
    these are the `whole` split.
    """
    ids = rows["id"]
    if whole and (unknown := sorted(entries.keys() - set(ids))):
        raise ValueError(f"{file} corrects {unknown[0]}, and there is no such photo in the split")
    places = [at for at, name in enumerate(ids) if not entries.get(name, {}).get("leave_out")]
    if not places:
        raise ValueError(f"{file} leaves no photo of split {split}")
    left, order = rows.select(places), rows.column_names
    for column in ("xyxy", "label"):
        values = [
            _corrected(row, entries.get(row["id"], {}), file)[column]
            for row in left.select_columns(["id", "width", "height", "xyxy", "label"])
        ]
        left = left.remove_columns(column).add_column(column, values, feature=rows.features[column])
    return left.select_columns(order)


def _corrected(row: dict, entry: dict, file: Path) -> dict:
    """The row with an entry's boxes; ValueError for boxes that are not inside its photo."""
    sides = (row["width"], row["height"]) * 2
    for box in entry.get("xyxy", ()):
        slack = [-1 <= number <= side + 1 for number, side in zip(box, sides, strict=True)]
        if not all(slack) or max(box) <= 1:
            raise ValueError(
                f"{file}, {row['id']}: the box {box} is not in pixels of the upright photo of"
                f" {sides[0]} x {sides[1]}"
            )
    return row | entry


def read_corrections(file: Path, split: str) -> dict[str, dict]:
    """The entries of the split by photo, including those that name no split.

    One JSON line per photo, as `python -m eval.audit` writes it: `id`, `split`, and either `xyxy`
    and `label`, the true boxes in pixels of the upright photo, or `leave_out`. Raises ValueError
    for anything else. Entries of other splits change nothing.
    """
    lines = read_jsonl(file)
    for line in lines:
        require(("id",), line, file)
    # Not `of_split`, which refuses a split without entries: a file may correct other splits only.
    entries = [line for line in lines if (line.get("split") or split) == split]
    if lines and not entries:
        others = ", ".join(sorted({str(line["split"]) for line in lines}))
        logger.warning("%s: none of its entries is of split %s, but of %s", file, split, others)
    for entry in entries:
        _require_sound(entry, file)
    times = Counter(entry["id"] for entry in entries)
    if twice := [name for name, count in times.items() if count > 1]:
        raise ValueError(f"{file}: the photo {twice[0]} is there twice")
    return {entry["id"]: entry for entry in entries}


def _require_sound(entry: dict, file: Path) -> None:
    if not isinstance(entry["id"], str):
        raise ValueError(f"{file}: the id {entry['id']!r} is no photo's name")
    if entry.get("leave_out") not in (None, False, True):
        raise ValueError(f"{file}, {entry['id']}: leave_out must be true or false")
    if not entry.get("leave_out") and not _are_boxes(entry.get("xyxy"), entry.get("label")):
        raise ValueError(
            f"{file}, {entry['id']}: needs xyxy, boxes of x0 < x1 and y0 < y1 in pixels, with"
            f" a label each ({', '.join(LABELS)}), or leave_out"
        )


def _are_boxes(xyxy: Any, labels: Any) -> bool:
    if not isinstance(xyxy, list) or not isinstance(labels, list) or len(xyxy) != len(labels):
        return False
    sound = (is_box(box) and box[0] < box[2] and box[1] < box[3] for box in xyxy)
    return all(sound) and all(label in LABELS for label in labels)
