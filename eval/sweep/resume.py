"""Predictions files that grow line by line: what of a split they lack, whatever stopped them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from nutrition_vl.data.sources import photo_hashes

STAMP = "sha256"


def stamped(rows: Dataset) -> Dataset:
    """The rows with a column STAMP, which changes with the photo's file."""
    return rows.add_column(STAMP, [found[:12] for found in photo_hashes(rows)])


def gaps(rows: Dataset, file: Path) -> list[int]:
    """The indices of the stamped rows that a predictions file does not answer yet.

    A half-written last line is cut off it. Raises ValueError for any other line that is not ours,
    and where the answer is to another photo of that name.
    """
    done = {entry["id"]: entry for entry, _ in entries(file)}
    for name, stamp in zip(rows["id"], rows[STAMP], strict=True):
        if done.get(name, {}).get(STAMP, stamp) != stamp:  # older files have none
            raise ValueError(
                f"{file} was predicted with another photo {name} than is there now:"
                " move that file away, or choose another --out"
            )
    return [index for index, name in enumerate(rows["id"]) if name not in done]


def entries(file: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each line of a file, if there is one, as an object and as it is.

    A last line that has no end is cut off. Raises ValueError for a line that is not ours.
    """
    for number, line in enumerate(_whole_lines(file), 1):
        entry = _parsed(line)
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise ValueError(f"{file}, line {number} is no prediction of ours: remove that line")
        yield entry, line


def _parsed(line: bytes) -> Any:
    """What a line says, None if that is no JSON."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _whole_lines(file: Path) -> list[bytes]:
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with file.open("r+b") as stream:
            stream.truncate(len(whole))
    return whole.splitlines()
