"""Saves corrected boxes: as rows of a labelled folder, or as corrections of a labelled source."""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

from nutrition_vl.boxes import LABELS
from nutrition_vl.files import read_jsonl, write_jsonl

ROWS = "metadata.jsonl"
HISTORY = ".history.jsonl"
CORRECTIONS = "corrections.jsonl"
Row = dict[str, Any]
Box = Sequence[float]  # x0, y0, x1, y1


class Place(NamedTuple):
    """The row of a photo: a file below the labels folder and the values of its key's fields."""

    file: str
    key: dict[str, str]

    @classmethod
    def of_photo(cls, name: str) -> Self:
        """The row of a photo's copy."""
        return cls(ROWS, {"file_name": name})

    @classmethod
    def of_source(cls, source: str, photo: str, split: str) -> Self:
        """The correction of a photo of a labelled source."""
        return cls(f"{source}/{CORRECTIONS}", {"id": photo, "split": split})


class LabelFolder:
    """A folder of photos with metadata.jsonl that `python -m training --data_path` reads as it is.

    Corrections of a labelled source lie in a folder of its name, in the form of `eval.audit`. Each
    save replaces the photo's row; `undo` restores the row before it.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._lock = root, Lock()

    def rows(self) -> list[Row]:
        """All rows, in the order of their first save."""
        return read_jsonl(self.root / ROWS)

    def save(
        self, photo: Path, size: tuple[int, int], boxes: Sequence[Box], labels: list[str]
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
            self._save(Place.of_photo(row["file_name"]), row)
        return row

    def correct(self, place: Place, boxes: Sequence[Box], labels: list[str]) -> Path:
        """Writes a photo's entry of corrections.jsonl and returns that file."""
        entry = place.key | {"xyxy": [list(box) for box in boxes], "label": labels}
        with self._lock:
            (self.root / place.file).parent.mkdir(parents=True, exist_ok=True)
            self._save(place, entry)
        return self.root / place.file

    def correction(self, place: Place) -> Row | None:
        """The entry of a photo that is corrected already."""
        return self._entries(place).get(tuple(place.key.values()))

    def undo(self) -> str | None:
        """Takes back the last save and returns its photo's name; None with nothing to undo."""
        with self._lock:
            history = read_jsonl(self.root / HISTORY)
            if not history:
                return None
            last = history.pop()
            old = "file" not in last  # saved before there were corrections of sources
            place = Place.of_photo(last["file_name"]) if old else Place(last["file"], last["key"])
            self._replace(place, last["before"])
            name = next(iter(place.key.values()))
            if place.file == ROWS and last["before"] is None:
                (self.root / name).unlink(missing_ok=True)
            write_jsonl(self.root / HISTORY, history)
            return name

    def first_unlabelled(self, photos: Iterable[Path]) -> Path | None:
        """The first of these photos that has no row."""
        names = {row["file_name"] for row in self.rows()}
        return next((photo for photo in photos if file_name(photo) not in names), None)

    def _save(self, place: Place, row: Row) -> None:
        before = self._replace(place, row)
        history = read_jsonl(self.root / HISTORY)
        history.append({"file": place.file, "key": place.key, "before": before})
        write_jsonl(self.root / HISTORY, history)

    def _replace(self, place: Place, row: Row | None) -> Row | None:
        """Writes a file's rows with one replaced, added or (None) removed; returns the old one."""
        rows, key = self._entries(place), tuple(place.key.values())
        before = rows.pop(key, None) if row is None else rows.get(key)
        if row is not None:
            rows[key] = row
        write_jsonl(self.root / place.file, rows.values())
        return before

    def _entries(self, place: Place) -> dict[tuple, Row]:
        """The rows of a file by their key; ValueError for one that a save would cut short."""
        file = self.root / place.file
        rows = read_jsonl(file)
        if file.exists() and len(rows) < len(file.read_text(encoding="utf-8").splitlines()):
            raise ValueError(f"{file}, line {len(rows) + 1} is not JSON: correct or remove it")
        return {tuple(row.get(field) for field in place.key): row for row in rows}


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
