"""Lists the photos of a source without opening one, and reads one where a worker needs it.

A photo is a dict for Ray Data: its name `photo`, its `place`, and for bytes in a parquet file the
`column`, row `group` and `row` in it. So photos travel as names until they are prepared.
"""

import glob
import json
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from nutrition_vl.batch import places
from nutrition_vl.data.paths import is_photo, locate, stem_inside
from nutrition_vl.data.photos import FORMATS, find_photos

Photo = dict[str, Any]


def list_photos(source: str, column: str | None = None) -> list[Photo]:
    """The photos in a source, as often as it names them.

    Raises FileNotFoundError, PermissionError or ValueError for a source without a photo.
    """
    photos = list(_photos(source, column))
    if not photos:
        raise ValueError(f"there is no photo in {source}: give one of {', '.join(FORMATS)}")
    return photos


def _photos(source: str, column: str | None) -> Iterable[Photo]:
    if column:
        return _in_parquet(source, column)
    if source.endswith(".parquet"):
        raise ValueError(f"{source} is a table: name the photos' column with --column")
    if source.endswith(".txt"):
        lines = places.read(source).decode("utf-8-sig", "surrogateescape").splitlines()
        return [_at(line.strip()) for line in lines if line.strip()]
    if source.endswith(".json"):
        return map(_at, _in_coco(source))
    return map(_at, _files(source))


def _at(name: str) -> Photo:
    place = os.fsencode(places.absolute(name))  # Arrow's text holds no names that are not UTF-8
    text = name.encode(errors="backslashreplace").decode()
    return {"photo": text, "place": place, "column": "", "group": 0, "row": 0}


def _files(source: str) -> list[str]:
    """The photos of a folder or glob, by the names that `python -m nutrition_vl` gives them."""
    if places.is_url(source):
        return [source] if is_photo(source) else [*filter(is_photo, places.find(source))]
    with places.explained(source):
        magic = glob.has_magic(source) and not os.path.exists(source)  # as "photos [2026]" may
        matches = (
            [*map(Path, sorted(glob.glob(source, recursive=True)))] if magic else [Path(source)]
        )
        if not all(match.exists() for match in matches):
            raise FileNotFoundError(source)
        return [str(photo) for photo in find_photos(matches)]


def _in_coco(source: str) -> list[str]:
    try:
        files = [image["file_name"] for image in json.loads(places.read(source))["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{source} is no COCO file: its images need a file_name") from error
    if places.is_url(source):
        folder = source.rpartition("/")[0]
        return [file if places.is_url(file) else places.join(folder, file) for file in files]
    from nutrition_vl.data.formats.coco import roots  # takes a second

    return [str(path) for path in locate(files, roots(Path(source)))]


def _in_parquet(source: str, column: str) -> Iterator[Photo]:
    """Photos in a column of bytes (also of `datasets`' structs), paths or URLs."""
    source = places.absolute(source)
    tables = [source] if source.endswith(".parquet") else places.find(source)
    for file in tables:
        if not file.endswith(".parquet"):
            continue
        table = _table(file)
        if column not in table.schema_arrow.names:
            columns = ", ".join(table.schema_arrow.names)
            raise ValueError(f"{file} has no column {column}: choose from {columns}")
        if str(table.schema_arrow.field(column).type) in ("string", "large_string"):
            yield from map(_at, filter(None, table.read([column])[column].to_pylist()))
        else:
            yield from _rows(file, column, table.metadata)


def _rows(file: str, column: str, metadata: Any) -> Iterator[Photo]:
    number = count()
    for group in range(metadata.num_row_groups):
        for row in range(metadata.row_group(group).num_rows):
            name = f"{file}#{next(number)}"
            place = os.fsencode(file)
            yield {"photo": name, "place": place, "column": column, "group": group, "row": row}


def require_own_crops(photos: Iterable[Photo]) -> None:
    """ValueError where the crops of two photos would have one name."""
    stems: dict[str, str] = {}
    for photo in photos:
        name = photo["photo"]
        if (other := stems.setdefault(stem_inside(name), name)) != name:
            raise ValueError(f"the crops of {other} and {name} would have one name: rename a photo")


def read_photo(photo: Photo) -> bytes:
    """The photo's encoded file; raises OSError or ValueError in the sentences of `open_photo`."""
    name, place = photo["photo"], os.fsdecode(photo["place"])
    if photo["column"]:
        value = _row_group(place, photo["column"], photo["group"])[photo["row"]]
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise ValueError(f"{name} holds no photo: expected bytes, got {str(value)[:40]}")
        return value
    try:
        return places.read(place)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no photo {name}") from error
    except PermissionError as error:
        raise PermissionError(f"{name} may not be read: change its permissions") from error


def _table(file: str) -> Any:
    from pyarrow.parquet import ParquetFile

    system, path = places.opened(file)
    with places.explained(file):
        return ParquetFile(path, filesystem=system)


@lru_cache(maxsize=1)  # a batch's photos lie in one group or two
def _row_group(file: str, column: str, group: int) -> list[Any]:
    return _table(file).read_row_group(group, [column])[column].to_pylist()
