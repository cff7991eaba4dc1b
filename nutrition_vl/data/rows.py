"""The toolbox of all readers: samples, skipped entries, checks, text and JSON."""

import codecs
import json
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

logger = logging.getLogger(__name__)

DATASET = "openfoodfacts/nutrition-table-detection"
# The names that tools give to a split's folder, file or key.
ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLITS = tuple(name for names in ALIASES.values() for name in names)
HUGE = 1e15  # beyond, no number in a label file is a side or an area
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Sample:
    """A labelled photo as its source stores it.

    `xyxy` is (n, 4): from 0 to 1 of the upright photo when `normalized`, else pixels of a photo of
    `stored_size`, or of the upright photo where that is None. `file` is the label file, for
    messages. `classes` are all class names that the source declares. `unturned_size` marks tools
    that store the size before EXIF turning for boxes drawn after it. `number` is COCO's image id.
    """

    id: str
    image: str | dict
    xyxy: list[list[float]]
    labels: list[str]
    normalized: bool = True
    malformed: int = 0
    stored_size: tuple[int, int] | None = None
    product: str = ""
    file: str = ""
    classes: frozenset[str] = frozenset()
    unturned_size: bool = False
    number: Hashable = None


@dataclass(frozen=True)
class Skipped:
    """An entry that was left out, and the reason."""

    id: str
    error: str


def skip(skipped: list[Skipped] | None, name: object, error: Exception | str) -> None:
    """Notes an entry as skipped; without a list, raises the error instead."""
    if skipped is None:
        raise error if isinstance(error, Exception) else ValueError(error)
    text = (str(name).strip() if name is not None else "") or "a row without a name"
    printable = (one.encode(errors="backslashreplace").decode() for one in (text, str(error)))
    skipped.append(Skipped(*printable))


def attempt(
    skipped: list[Skipped] | None, name: object, read: Callable[..., Any], *entry: Any
) -> Any:
    """Returns `read(*entry)`; with a list, None for an entry that fails, noted there by name."""
    try:
        return read(*entry)
    except (OSError, ValueError) as error:
        skip(skipped, name, error)
        return None


def warn_skipped(source: object, skipped: list[Skipped], use: str) -> None:
    """Logs the number of entries that are not used, and the reasons."""
    if skipped:
        logger.warning("%s: %d entries are not %s", source, len(skipped), use)
        for line in summary(skipped):
            logger.warning("  %s", line)


def summary(skipped: list[Skipped], limit: int = 10) -> list[str]:
    """At most `limit` lines that name the skipped entries and their reasons."""
    lines = [f"{entry.id}: {entry.error}" for entry in skipped[:limit]]
    if len(skipped) > limit:
        lines[-1] = f"and {len(skipped) - limit + 1} more"
    return lines


def choose(split: str, available: Iterable[str], source: object) -> str:
    """The name of `split` in `available` ("valid" for "val"), or ValueError that lists them."""
    names = list(available)
    aliases = next((names for names in ALIASES.values() if split in names), ())
    for name in (split, *aliases):
        if name in names:
            return name
    raise ValueError(
        f"{source} has no split {split!r}: it has {', '.join(sorted(names)) or 'none'}"
    )


def of_split(
    rows: Sequence[Any], split: str, source: object, skipped: list[Skipped] | None = None
) -> list[dict]:
    """The rows of `split`, or all where no row names a split.

    Where no row has a key `split` and their photos lie in folders of several, those are the splits.
    """
    objects = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            objects.append(row)
        else:
            skip(skipped, f"row {number}", f"{source} must hold one object a photo")
    splits = {str(row["split"]) for row in objects if row.get("split")}
    if not splits:
        folders = [_split_folder(row) for row in objects]
        if None in folders or len(set(folders)) < 2:
            return objects
        name = choose(split, {str(folder) for folder in folders}, source)
        return [row for row, folder in zip(objects, folders, strict=True) if folder == name]
    name, rows = choose(split, splits, source), []
    for row in objects:
        if not row.get("split"):
            photo = row.get("file_name") or row.get("image") or "a row without a name"
            skip(skipped, photo, f"{source}, {photo}: has no split, and other rows have one")
        elif str(row["split"]) == name:
            rows.append(row)
    return rows


def _split_folder(row: Mapping) -> str | None:
    """The split that the photo's path begins with: train for train/a.jpg."""
    path = str(row.get("file_name") or row.get("image") or "").replace("\\", "/")
    folder = path.removeprefix("./").partition("/")[0]
    return folder if folder in SPLITS else None


def require(columns: Iterable[str], content: object, source: object) -> None:
    """ValueError unless `content` is a mapping with all of `columns`."""
    names = list(content) if isinstance(content, Mapping) else []
    missing = [name for name in columns if name not in names]
    if missing:
        columns_found = ", ".join(map(str, names)) or "no columns"
        raise ValueError(f"{source} lacks {', '.join(missing)}: it has {columns_found}")


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Turns the errors of an entry of unexpected types into a ValueError that names it."""
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{where} does not follow its format: {error!r}") from error


def is_number(value: object) -> TypeGuard[float]:
    """True for a finite int or float, of a size that a float can hold."""
    return type(value) in (int, float) and -HUGE < value < HUGE  # type: ignore[operator]


def is_box(value: object) -> TypeGuard[list[float]]:
    """True for a list of four such numbers."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def size_of(width: object, height: object) -> tuple[int, int] | None:
    """A stored size in pixels; None where it is missing, 0 or no number, as labelImg may write."""
    try:
        size = round(float(width)), round(float(height))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def read_jsonl(file: Path, skipped: list[Skipped] | None = None) -> list[dict]:
    """The objects of a file, one per line."""
    rows = [
        attempt(skipped, f"line {number}", _parse_line, file, line, number)
        for number, line in enumerate(read_text(file).split("\n"), 1)
        if line.strip()
    ]
    return [row for row in rows if row is not None]


def _parse_line(file: Path, text: str, line: int) -> Any:
    value = parse_json(file, text, line)
    if value is None:
        raise ValueError(f"{file}, line {line}: expected an object, got null")
    return value


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, or of a UTF-16 file that begins with a byte order mark."""
    content = file.read_bytes()
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from error


def read_json(file: Path) -> Any:
    """The content of a JSON file; raises like `parse_json`."""
    return parse_json(file, read_text(file))


def parse_json(file: Path, text: str, line: int = 1) -> Any:
    """The content of JSON text; ValueError names the file and the line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}, line {line + error.lineno - 1}: not JSON ({error.msg})"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, 1000 brackets
        raise ValueError(f"{file}, line {line}: not readable JSON ({error})") from error


def stored(image: str | dict) -> tuple[str | bytes, str | None]:
    """The arguments of `open_photo` for a value of the image column: the photo and its name."""
    if isinstance(image, str):
        return image, image
    return image["bytes"] or image["path"], image["path"]


def without_shared_photos(samples: list[Sample], skipped: list[Skipped] | None) -> list[Sample]:
    """The samples whose boxes are all of their photo's; a sample may be there several times.

    Unlike entries for one photo hold a part of its boxes each, or are opinions.
    """
    first: dict[str, tuple] = {}
    facts = [(str(one.image), (one.id, one.xyxy, one.labels)) for one in samples]
    unlike = {image for image, own in facts if first.setdefault(image, own) != own}
    for sample in samples:
        if str(sample.image) in unlike:
            reason = f"{sample.image} has several entries"
            skip(skipped, sample.id, f"{sample.file}: {reason}")
    return [sample for sample in samples if str(sample.image) not in unlike]
