"""Saves corrected boxes: as rows of a labelled folder, or as corrections of a labelled source."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from nutrition_vl.boxes import LABELS
from nutrition_vl.files import read_jsonl, write_jsonl

ROWS = "metadata.jsonl"
HISTORY = ".history.jsonl"
CORRECTIONS = "corrections.jsonl"
CORRECTING = Lock()  # visitors save at the same time
Row = dict[str, Any]
Box = Sequence[float]  # x0, y0, x1, y1


class LabelFolder:
    """A folder of photos with metadata.jsonl that `python -m training --data_path` reads as it is.

    Each save replaces the photo's row; `undo` restores the row before it.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._lock = root, Lock()

    def rows(self) -> list[Row]:
        """All rows, in the order of their first save."""
        return read_jsonl(self.root / ROWS)

    def save(
        self,
        photo: Path,
        size: tuple[int, int],
        boxes: Sequence[Box],
        labels: list[str],
    ) -> Row:
        """Copies the photo into the folder and writes its row; boxes in upright pixels."""
        row = metadata_row(file_name(photo), size, boxes, labels)
        with self._lock:
            self.root.mkdir(parents=True, exist_ok=True)
            target = self.root / row["file_name"]
            if not target.exists():
                new = target.with_name(f".{target.name}.new")
                shutil.copyfile(photo, new)
                new.replace(target)
            before = self._replace(row["file_name"], row)
            history = read_jsonl(self.root / HISTORY)
            history.append({"file_name": row["file_name"], "before": before})
            write_jsonl(self.root / HISTORY, history)
        return row

    def undo(self) -> str | None:
        """Takes back the last save and returns its photo's file name; None with nothing to undo."""
        with self._lock:
            history = read_jsonl(self.root / HISTORY)
            if not history:
                return None
            last = history.pop()
            self._replace(last["file_name"], last["before"])
            if last["before"] is None:
                (self.root / last["file_name"]).unlink(missing_ok=True)
            write_jsonl(self.root / HISTORY, history)
            return last["file_name"]

    def first_unlabelled(self, photos: Iterable[Path]) -> Path | None:
        """The first of these photos that has no row."""
        names = {row["file_name"] for row in self.rows()}
        return next((photo for photo in photos if file_name(photo) not in names), None)

    def _replace(self, name: str, row: Row | None) -> Row | None:
        """Writes all rows with one replaced, added or (None) removed; returns the one before."""
        rows = {one["file_name"]: one for one in self.rows()}
        before = rows.get(name)
        if row is None:
            rows.pop(name, None)
        else:
            rows[name] = row
        write_jsonl(self.root / ROWS, rows.values())
        return before


def metadata_row(name: str, size: tuple[int, int], boxes: Sequence[Box], labels: list[str]) -> Row:
    """A row of openfoodfacts/nutrition-table-detection: boxes y_min, x_min, y_max, x_max in 0-1."""
    width, height = size
    scaled = [[y0 / height, x0 / width, y1 / height, x1 / width] for x0, y0, x1, y1 in boxes]
    objects = {
        "bbox": scaled,
        "category_id": [LABELS.index(label) for label in labels],
        "category_name": labels,
    }
    named = {"file_name": name, "image_id": Path(name).stem, "width": width, "height": height}
    return named | {"objects": objects}


def file_name(photo: Path) -> str:
    """The photo's name with the hash of its content, so that no photo overwrites another."""
    with photo.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:10]
    return f"{photo.stem[:60]}-{digest}{photo.suffix.lower()}"


def save_correction(
    folder: Path, photo: str, split: str, boxes: Sequence[Box], labels: list[str]
) -> Path:
    """Replaces a photo's entry in corrections.jsonl, in the form that `eval.audit` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CORRECTIONS
    entry = {"id": photo, "split": split, "xyxy": [list(box) for box in boxes], "label": labels}
    with CORRECTING:
        entries = {(one["id"], one.get("split")): one for one in read_jsonl(file)}
        entries[photo, split] = json.loads(json.dumps(entry))
        write_jsonl(file, entries.values())
    return file
