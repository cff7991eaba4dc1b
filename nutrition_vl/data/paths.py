"""Finds photos, label files and splits in the folders that labelling tools write."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from urllib.parse import unquote

from nutrition_vl.data.photos import photo_suffixes
from nutrition_vl.data.rows import SPLITS, choose

# Written by macOS, Jupyter and Windows next to photos, under the photos' own names.
IGNORED = ("__MACOSX", "@eaDir")
_NOWHERE = re.compile(r"^(?:[A-Za-z]:/|/|~|[a-z0-9]+://|(?:.*/)?\.\./)")


def is_photo(file: str | Path) -> bool:
    """True where the name ends like a photo's."""
    return os.path.splitext(str(file))[1].lower() in photo_suffixes()


def stem_inside(name: str) -> str:
    """The name of a photo without its ending and without a way out of the folder it is put in."""
    path = Path(name.encode(errors="backslashreplace").decode())
    whole = path.with_suffix("") if is_photo(path) else path  # a row packs.parquet#3 has no ending
    return whole.as_posix().lstrip("/").replace("../", "")


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files of a folder and its sub-folders with one of these suffixes, sorted.

    Follows symbolic links, each folder once; leaves out hidden files and folders.
    """
    endings = tuple(suffixes)
    return sorted(file for file in _walk(folder) if file.suffix.lower() in endings)


def _walk(folder: Path) -> Iterator[Path]:
    visited = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name not in IGNORED]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def stems_in(folder: Path, suffixes: Iterable[str]) -> dict[str, list[Path]]:
    """The files of one folder with one of these suffixes by their `plain` stem."""
    endings, files = tuple(suffixes), dict[str, list[Path]]()
    for entry in sorted(os.scandir(folder), key=attrgetter("name")) if folder.is_dir() else ():
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in endings and not entry.name.startswith("."):
            files.setdefault(plain(stem), []).append(Path(entry.path))
    return files


def plain(name: str) -> str:
    """A name with composed accents: macOS stores them decomposed, label files do not."""
    return unicodedata.normalize("NFC", name)


def split_folder(folder: Path, split: str) -> Path:
    """The sub-folder of a split (train, valid, images/val ...), or the folder if it has none."""
    for place in (folder, folder / "images"):
        if splits := [name for name in SPLITS if (place / name).is_dir()]:
            return place / choose(split, splits, folder)
    return folder


def swapped(folder: Path, old: Iterable[str], new: str) -> Path | None:
    """The folder with its last whole part out of `old` replaced, as Ultralytics does."""
    parts = list(folder.parts)
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] in old:
            return Path(*parts[:index], new, *parts[index + 1 :])
    return None


def posix(name: str) -> str:
    """A path as a label file names it, with slashes and without "./" in front."""
    return re.sub(r"^(?:\./)+", "", name.strip().replace("\\", "/"))


def is_elsewhere(name: str) -> bool:
    """True for a path of another machine or outside the data set: absolute, a URL or with `..`."""
    return bool(_NOWHERE.match(posix(name)))


def locate(names: Sequence[str], roots: Iterable[Path]) -> list[Path]:
    """Where the photos that a file lists lie: below the root that has most of them.

    Leading folders that all names share are cut off where they are of another machine, or where
    they repeat the root's own name. A missing photo keeps its path below that root.
    """
    paths = [posix(name).rstrip("/") for name in names]
    if any(is_elsewhere(path) for path in paths) and all(map(os.path.exists, paths)):
        return [Path(path) for path in paths]
    best, most = list(paths), -1
    places = list(dict.fromkeys(roots))
    for same in (str, _Folders().same):
        for files in _candidates(paths, places):
            files = [same(file) for file in files]
            count = sum(map(os.path.isfile, files))
            if count > most:
                best, most = files, count
            if count == len(paths):
                return [Path(file) for file in best]
    return [Path(file) for file in best]


class _Folders:
    """Lists folders, each once."""

    def __init__(self) -> None:
        self.names: dict[str, dict[str, list[str]]] = {}

    def same(self, file: str) -> str:
        """The file, or the only one there whose name has other case or composed accents."""
        if os.path.isfile(file):
            return file
        folder, name = os.path.split(file)
        if folder not in self.names:
            names = self.names.setdefault(folder, {})
            for entry in os.listdir(folder) if os.path.isdir(folder) else ():
                names.setdefault(plain(entry).casefold(), []).append(entry)
        alike = self.names[folder].get(plain(name).casefold(), [])
        return os.path.join(folder, alike[0]) if len(alike) == 1 else file


def _candidates(paths: Sequence[str], roots: Sequence[Path]) -> Iterator[list[str]]:
    yield from _below(paths, roots)
    plainer = [unquote(path.split("?")[0] if "://" in path else path) for path in paths]
    if plainer != list(paths):  # Label Studio encodes spaces as %20, buckets sign their URLs
        yield from _below(plainer, roots)


def _below(paths: Sequence[str], roots: Sequence[Path]) -> Iterator[list[str]]:
    split_up = [[part for part in path.split("/") if part not in ("", ".")] for path in paths]
    folders = zip(*(parts[:-1] for parts in split_up), strict=False)
    shared = [*takewhile(lambda parts: len({*parts}) == 1, folders)]
    elsewhere = any(map(is_elsewhere, paths))
    for cut in range(len(shared) + 1):
        for root in roots:
            repeated = cut and root.parts[-cut:] == tuple(split_up[0][:cut])
            if repeated or elsewhere or not cut:
                yield [os.path.join(root, *parts[cut:]) for parts in split_up]
