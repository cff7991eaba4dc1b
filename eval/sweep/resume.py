"""Resumes a predictions file: finds the photos that still have no line."""

from pathlib import Path

from datasets import Dataset

from nutrition_vl.data.sources import photo_hashes
from nutrition_vl.running.resume import entries

PHOTO_HASH = "sha256"


def with_photo_hash(rows: Dataset) -> Dataset:
    """The rows with a column PHOTO_HASH: 12 digits that change with the photo's file."""
    return rows.add_column(PHOTO_HASH, [digest[:12] for digest in photo_hashes(rows)])


def missing_rows(rows: Dataset, file: Path) -> list[int]:
    """Indices of the rows, which have a PHOTO_HASH, that a predictions file lacks.

    Raises ValueError for a line that is no prediction, and for one of another photo of that name.
    """
    lines = {entry["id"]: entry for entry in entries(file, "id")}
    for name, photo_hash in zip(rows["id"], rows[PHOTO_HASH], strict=True):
        if lines.get(name, {}).get(PHOTO_HASH, photo_hash) != photo_hash:  # older files have none
            raise ValueError(
                f"{file} was predicted with another photo {name} than is there now:"
                " move that file away, or choose another --out"
            )
    return [index for index, name in enumerate(rows["id"]) if name not in lines]
