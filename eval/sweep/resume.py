"""Resumes a predictions file: finds the photos that still have no line, appends whole lines."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from datasets import Dataset

from nutrition_vl.data.sources import photo_hashes
from nutrition_vl.files import lock

PHOTO_HASH = "sha256"


def with_photo_hash(rows: Dataset) -> Dataset:
    """The rows with a column PHOTO_HASH: 12 digits that change with the photo's file."""
    return rows.add_column(PHOTO_HASH, [digest[:12] for digest in photo_hashes(rows)])


def missing_rows(rows: Dataset, file: Path) -> list[int]:
    """Indices of the rows, which have a PHOTO_HASH, that a predictions file lacks.

    Raises ValueError for a line that is no prediction, and for one of another photo of that name.
    """
    lines = {entry["id"]: entry for entry in _entries(file)}
    for name, photo_hash in zip(rows["id"], rows[PHOTO_HASH], strict=True):
        if lines.get(name, {}).get(PHOTO_HASH, photo_hash) != photo_hash:  # older files have none
            raise ValueError(
                f"{file} was predicted with another photo {name} than is there now:"
                " move that file away, or choose another --out"
            )
    return [index for index, name in enumerate(rows["id"]) if name not in lines]


@contextmanager
def locked(file: Path, wait: bool = False) -> Iterator[IO[bytes]]:
    """Opens a file to append to while no other process does; cuts off a half last line.

    Raises ValueError where another process has it open, unless this one is to `wait`.
    """
    with file.open("a+b") as stream:
        if not lock(stream, wait):
            raise ValueError(
                f"another command is writing to {file}: let it end, or choose another --out"
            )
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
        yield stream


def as_line(entry: dict[str, Any]) -> bytes:
    """One line of a predictions file."""
    return json.dumps(entry).encode() + b"\n"


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    """Every whole line; a half last line is one that a killed process left."""
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1] if file.exists() else [], 1):
        entry = _parsed(line)
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise ValueError(f"{file}, line {number} is no prediction of ours: remove that line")
        yield entry


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
