"""Files of JSON lines that survive a kill: whole lines only, one writer at a time, known inputs."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any

from nutrition_vl.files import lock, named_if_full

CONTENTS = ("*.safetensors", "*.json", "*.jinja")  # weights, settings, calibration, chat template


@contextmanager
def locked(file: Path, wait: bool = False) -> Iterator[IO[bytes]]:
    """Opens a file to append to while no other process does; cuts off a half last line.

    Raises ValueError where another process has it open, unless this one is to `wait`, and for a
    last line that is no beginning of a JSON line, or the whole of another's file.
    """
    with named_if_full(file), file.open("a+b") as stream:
        if not lock(stream, wait):
            raise ValueError(
                f"another command is writing to {file}: let it end, or choose another --out"
            )
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 1))
        if stream.read() not in (b"", b"\n"):  # else a long file is read for every line
            stream.seek(0)
            _cut_half_line(file, stream, stream.read())
        yield stream


def _cut_half_line(file: Path, stream: IO[bytes], content: bytes) -> None:
    """Cuts off the last line, which has no end, where it is the beginning of a line of ours."""
    start = content.rfind(b"\n") + 1
    whole_file = not start and _parsed(content) is not None
    if whole_file or not content.startswith(b"{", start):
        raise ValueError(f"{file} does not hold JSON lines: move it away, or choose another --out")
    stream.truncate(start)


def as_line(entry: dict[str, Any]) -> bytes:
    """One line of a file of predictions or answers."""
    return json.dumps(entry).encode() + b"\n"


def entries(file: Path, key: str) -> Iterator[dict[str, Any]]:
    """Every whole line, named by its `key`; a half last line is one that a killed process left.

    Raises ValueError for a whole line without that name.
    """
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1] if file.exists() else [], 1):
        entry = _parsed(line)
        if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
            raise ValueError(f"{file}, line {number} is no prediction of ours: remove that line")
        yield entry


def contents(source: str, revision: str = "main") -> dict[str, str]:
    """SHA-256 by file name of a model's or an adapter's folder; a hub id and its revision."""
    folder = Path(source)
    if not folder.is_dir():
        return {source: revision}
    files = sorted(file for pattern in CONTENTS for file in folder.glob(pattern))
    return {file.name: _digest(file, file.stat().st_mtime_ns) for file in files}


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


@cache  # a base of 16 GB is read once for all its uses; `changed` keeps that honest
def _digest(file: Path, changed: int) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
