"""Predictions files that grow line by line: what of a split they lack, whatever stopped them."""

import json
from pathlib import Path

from datasets import Dataset


def gaps(rows: Dataset, file: Path) -> list[int]:
    """The indices of the rows that a predictions file does not answer yet.

    A half-written last line is cut off it. Raises ValueError for any other line that is not ours.
    """
    lines = enumerate(whole_lines(file), 1)
    done = {_id(line, f"{file}, line {number}") for number, line in lines}
    return [index for index, name in enumerate(rows["id"]) if name not in done]


def whole_lines(file: Path) -> list[bytes]:
    """The lines of a file, if there is one, after cutting off a last one that has no end."""
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with file.open("r+b") as stream:
            stream.truncate(len(whole))
    return whole.splitlines()


def _id(line: bytes, where: str) -> str:
    try:
        return str(json.loads(line)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is no prediction of ours: remove that line") from error
