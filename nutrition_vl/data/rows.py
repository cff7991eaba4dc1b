"""The toolbox of all readers: samples, skipped entries, checks, text and JSON."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sample:
    """A labelled photo: boxes (n, 4) as x0, y0, x1, y1, from 0 to 1 of the upright photo when
    `normalized`, else in its pixels; how many could not be read; its size and product as stored."""

    id: str
    image: str | dict
    xyxy: list[list[float]]
    labels: list[str]
    normalized: bool = True
    malformed: int = 0
    stored_size: tuple[int, int] | None = None
    product: str = ""


@dataclass(frozen=True)
class Skipped:
    """A row that could not be read, and why."""

    id: str
    error: str


def attempt(
    skipped: list[Skipped] | None, name: str | None, read: Callable[..., Any], *what: Any
) -> Any:
    """What `read` makes of `what`; with a list, None where it cannot, noted there by its name."""
    try:
        return read(*what)
    except (OSError, ValueError) as error:
        if skipped is None:
            raise
        skipped.append(Skipped(str(name or "a row without a name"), str(error)))
        return None


def choose(split: str, available: Iterable[str], source: object) -> str:
    """`split`, or a ValueError that says which splits there are."""
    if split in available:
        return split
    raise ValueError(
        f"{source} has no split {split!r}: it has {', '.join(sorted(available)) or 'none'}"
    )


def of_split(rows: list[dict], split: str, source: object) -> list[dict]:
    """The rows whose `split` it is, or all where no row has one."""
    if not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"{source} must hold one object a photo")
    if splits := {str(row["split"]) for row in rows if row.get("split")}:
        choose(split, splits, source)
    return [row for row in rows if not splits or str(row.get("split")) == split]


def require(columns: Iterable[str], found: object, source: object) -> None:
    """ValueError unless `found` is a mapping with all of `columns`."""
    names = list(found) if isinstance(found, Mapping) else []
    missing = [name for name in columns if name not in names]
    if missing:
        columns_found = ", ".join(map(str, names)) or "no columns"
        raise ValueError(f"{source} lacks {', '.join(missing)}: it has {columns_found}")


@contextmanager
def naming(where: object) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{where} does not follow its format: {error!r}") from error


def read_jsonl(file: Path, skipped: list[Skipped] | None = None) -> list[dict]:
    """The objects of a file, one a line."""
    rows = [
        attempt(skipped, f"line {number}", parse_json, file, line, number)
        for number, line in enumerate(read_text(file).split("\n"), 1)
        if line.strip()
    ]
    return [row for row in rows if row is not None]


def read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from error


def parse_json(file: Path, text: str, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}, line {line + error.lineno - 1}: not JSON ({error.msg})"
        ) from error


def stored(image: str | dict) -> tuple[str | bytes, str | None]:
    """Of the image column what `open_photo` asks for: the photo and what to call it."""
    if isinstance(image, str):
        return image, image
    return image["bytes"] or image["path"], image["path"]


def unique(names: Iterable[str]) -> list[str]:
    """Ids name photos in result files, so the second `a` (of another folder) becomes `a-2`."""
    seen: Counter[str] = Counter()
    ids = []
    for name in names:
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids
