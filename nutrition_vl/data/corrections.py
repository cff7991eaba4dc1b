"""Corrections of labels, kept beside the data and applied on reading: the data stays as it is."""

from pathlib import Path
from typing import Any

from datasets import Dataset

from nutrition_vl.boxes import LABELS
from nutrition_vl.data.rows import read_jsonl, require


def correct(rows: Dataset, file: Path, split: str, whole: bool) -> Dataset:
    """The rows of a split with boxes replaced and photos left out as the file says.

    A JSON line a photo, as `python -m eval.audit` writes it: `id`, `split`, and either `xyxy` and
    `label`, the true boxes in pixels of the upright photo, or `leave_out`. Raises ValueError for
    anything else, and for photos that are not among the rows if these are the `whole` split.
    Entries of other splits change nothing.
    """
    found = _read(file, split)
    strangers = sorted(found.keys() - set(rows["id"])) if whole else []
    if strangers:
        raise ValueError(f"{file} corrects {strangers[0]}, and there is no such photo in the split")
    names = [name for name in rows["id"] if not found.get(name, {}).get("leave_out")]
    if not names:
        raise ValueError(f"{file} leaves no photo of split {split}")
    place = {name: index for index, name in enumerate(rows["id"])}
    kept, order = rows.select([place[name] for name in names]), rows.column_names
    for column in ("xyxy", "label"):
        old = zip(names, kept[column], strict=True)
        values = [found.get(name, {}).get(column, value) for name, value in old]
        kept = kept.remove_columns(column).add_column(column, values, feature=rows.features[column])
    return kept.select_columns(order)


def _read(file: Path, split: str) -> dict[str, dict]:
    """The entries of the split by photo, those that name no split among them."""
    entries = read_jsonl(file)
    for entry in entries:
        require(("id",), entry, file)
    # Not `of_split`, which wants the split to be there: others may be all that is wrong.
    found = [entry for entry in entries if (entry.get("split") or split) == split]
    for entry in found:
        _require_sound(entry, file)
    return {entry["id"]: entry for entry in found}


def _require_sound(entry: dict, file: Path) -> None:
    if not isinstance(entry["id"], str):
        raise ValueError(f"{file}: the id {entry['id']!r} is no photo's name")
    if not entry.get("leave_out") and not _are_boxes(entry.get("xyxy"), entry.get("label")):
        raise ValueError(
            f"{file}, {entry['id']}: needs xyxy, boxes of x0 < x1 and y0 < y1 in pixels, with"
            f" a label each ({', '.join(LABELS)}), or leave_out"
        )


def _are_boxes(xyxy: Any, labels: Any) -> bool:
    if not isinstance(xyxy, list) or not isinstance(labels, list) or len(xyxy) != len(labels):
        return False
    return all(map(_is_box, xyxy)) and all(label in LABELS for label in labels)


def _is_box(box: Any) -> bool:
    real = isinstance(box, list) and all(isinstance(number, int | float) for number in box)
    return real and len(box) == 4 and box[0] < box[2] and box[1] < box[3]
