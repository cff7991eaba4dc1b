"""Reads Pascal VOC: one XML file per photo.

Not by supervision (0.31), which decodes every photo to do so.
"""

import codecs
import logging
import math
import re
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from nutrition_vl.data.formats.other_tools import ADVICE
from nutrition_vl.data.paths import (
    files_below,
    is_photo,
    photo_suffixes,
    plain,
    posix,
    split_folder,
    stems_in,
    swapped,
)
from nutrition_vl.data.rows import (
    MARKS,
    Sample,
    Skipped,
    attempt,
    choose,
    is_number,
    read_text,
    size_of,
    skip,
    without_shared_photos,
)

logger = logging.getLogger(__name__)

LABEL_FOLDERS = ("Annotations", "annotations", "labels", "xml", "xmls")
PHOTO_FOLDERS = ("JPEGImages", "images")
SIDES = ("xmin", "ymin", "xmax", "ymax")
# A superset each, as files that claim the smaller set hold characters of the larger.
LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949"}
_FLAG = re.compile(r"\s+-?[01]$")  # lists of one class say 1, 0 or -1 behind each photo
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"']+)["']""")


def read_voc(folder: Path, split: str, skipped: list[Skipped] | None = None) -> list[Sample]:
    """The photos of a split: ImageSets/Main/SPLIT.txt, or a sub-folder, or all.

    A photo lies next to its XML file, or in JPEGImages or images where that is in Annotations.
    """
    sets = [one.parent.parent for one in sorted(folder.glob("*/ImageSets/Main"))]  # VOCdevkit
    if sets and not (folder / "ImageSets").is_dir():
        return [sample for one in sets for sample in read_voc(one, split, skipped)]
    labels = next((folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()), folder)
    every = files_below(labels, (".xml",))
    if lists := {file.stem: file for file in folder.glob("ImageSets/Main/*.txt")}:
        # CVAT names the only list default.
        name = "default" if list(lists) == ["default"] else choose(split, lists, folder)
        files = _listed(lists[name], labels, every, skipped)
    else:
        below = split_folder(labels, split)
        files = [file for file in every if file.is_relative_to(below)]
    photos = _Photos(folder)
    classes = frozenset().union(*map(_classes, every))
    read = [attempt(skipped, file.name, _sample, file, photos, classes) for file in files]
    samples = [sample for sample in read if sample]
    if not lists:
        photos.warn_of_unlabelled(files)
    return without_shared_photos(samples, skipped)


def _listed(
    listed: Path, labels: Path, files: list[Path], skipped: list[Skipped] | None
) -> list[Path]:
    """The XML files of the photos that a list names."""
    by_path = {plain(file.relative_to(labels).with_suffix("").as_posix()): file for file in files}
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(plain(file.stem), []).append(file)
    lines = [posix(plain(line)) for line in read_text(listed).split("\n") if line.strip()]
    flagged = all(map(_FLAG.search, lines)) and not all(_bare(line) in by_path for line in lines)
    chosen = {}
    for line in lines:
        names = [_bare(_FLAG.sub("", line)), *([] if flagged else [_bare(line)])]
        hits = [by_path[name] for name in reversed(names) if name in by_path]
        hits = hits or [file for name in reversed(names) for file in by_stem.get(name, [])]
        if not hits:
            skip(skipped, line, f"{listed} lists {line}, and there is no {names[-1]}.xml")
        elif hits[0].stem == hits[-1].stem and len(set(hits)) > 1:
            skip(skipped, line, f"{listed} lists {line}: several files have that name")
        else:
            chosen[hits[0]] = line
    return list(chosen)


def _bare(line: str) -> str:
    """The name in a list without suffix, and without the folder of all photos in front."""
    parts = PurePosixPath(line).parts
    tops = [at for at, part in enumerate(parts) if part in (*LABEL_FOLDERS, *PHOTO_FOLDERS)]
    name = "/".join(parts[tops[-1] + 1 :] if tops else parts)
    return name[: name.rindex(".")] if is_photo(name) or name.endswith(".xml") else name


class _Photos:
    """Finds the photos of XML files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stems: dict[Path, dict[str, list[Path]]] = {}

    def of(self, file: Path, filename: str) -> Path:
        """The photo that the file names; else that of its own name, if it does not name another."""
        wanted, places = posix(filename), self._places(file)
        own = next((same for place in places if (same := self._same(place, file.stem))), [])
        names = dict.fromkeys(name for name in (wanted, PurePosixPath(wanted).name) if name)
        named = [place / name for place in places for name in names if (place / name).is_file()]
        if named and (not own or named[0] in own or named[0].stem == file.stem):
            return named[0]
        if named:
            raise ValueError(f"{file} names the photo {wanted}, and {own[0].name} lies there too")
        other = wanted and file.stem not in (PurePosixPath(wanted).name, PurePosixPath(wanted).stem)
        if other or not own:
            missing = places[-1] / (wanted or file.stem)
            raise FileNotFoundError(f"{file}: there is no photo {missing}")
        if len(own) > 1:
            names_ = ", ".join(photo.name for photo in own)
            raise ValueError(f"{file} names no photo, and there are {names_}: which one?")
        return own[0]

    def warn_of_unlabelled(self, files: list[Path]) -> None:
        """Counts the photos in the same folders that have no XML file."""
        labelled = {plain(file.stem) for file in files}
        bare = [
            photo
            for stems in self.stems.values()
            for stem, photos in stems.items()
            for photo in photos
            if stem not in labelled
        ]
        if bare:
            logger.warning(
                "%s: left out %d photos without an .xml file (the first is %s)",
                self.folder, len(bare), bare[0].name,
            )  # fmt: skip

    def _same(self, place: Path, stem: str) -> list[Path]:
        if place not in self.stems:
            self.stems[place] = stems_in(place, photo_suffixes())
        return self.stems[place].get(plain(stem), [])

    def _places(self, file: Path) -> list[Path]:
        inner = file.parent.relative_to(self.folder)
        places = [swapped(inner, LABEL_FOLDERS, name) for name in PHOTO_FOLDERS]
        if None in places:
            return [file.parent]
        flat = [self.folder / name for name in PHOTO_FOLDERS]
        below = [self.folder / place for place in places if place]
        return [place for place in (file.parent, *below, *flat) if place.is_dir()]


def _sample(file: Path, photos: _Photos, classes: frozenset[str]) -> Sample:
    root = _parse(file)
    size = size_of(root.findtext("size/width"), root.findtext("size/height"))
    objects = [_object(element, file, size) for element in root.findall("object")]
    return Sample(
        id=file.stem,
        image=str(photos.of(file, root.findtext("filename", "").strip())),
        xyxy=[box for _, box in objects],
        labels=[name for name, _ in objects],
        normalized=False,
        stored_size=size,
        file=str(file),
        classes=classes,
        unturned_size=root.findtext("owner/name", "").strip() == "Label Studio",
    )


def _object(
    element: ElementTree.Element, file: Path, size: tuple[int, int] | None
) -> tuple[str, list[float]]:
    """Name and box; pixels count from 1 and both ends belong to the box."""
    name, boxes = element.findtext("name", "").strip(), element.findall("bndbox")
    if not name:
        raise ValueError(f"{file} has an object without a name")
    try:
        (box,) = boxes
        x0, y0, x1, y1 = (float(box.findtext(side, "")) for side in SIDES)
    except ValueError as error:
        raise ValueError(f"{file} has an object without four numbers in its bndbox") from error
    if not all(map(is_number, (x0, y0, x1, y1))):
        raise ValueError(f"{file} has an object without four numbers in its bndbox")
    if x0 == x1 or y0 == y1:
        raise ValueError(f"{file} has an object whose box has no area: its sides are one line")
    if max(x0, y0, x1, y1) <= 1:
        raise ValueError(f"{file} has a box in shares of the sides: expected pixels")
    across, down = size or (math.inf, math.inf)
    if (x1 < x0 or y1 < y0) and x0 + x1 <= across and y0 + y1 <= down:
        raise ValueError(
            f"{file}: the box {x0:g}, {y0:g}, {x1:g}, {y1:g} has swapped corners or is x, y, width,"
            " height: write xmin < xmax and ymin < ymax"
        )
    # Tools that count from 0 write 0; no pixel count from 1 does.
    first = [side - 1 if side >= 1 else side for side in (min(x0, x1), min(y0, y1))]
    return name, [*first, max(x0, x1), max(y0, y1)]


def _parse(file: Path) -> ElementTree.Element:
    text = _text(file)
    try:
        # Without the declaration: expat reads no multi-byte encodings, and the text is decoded.
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL))
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{file} is not XML: {error}") from error
    if root.tag == "annotations":
        raise ValueError(f"{file} is in the format of CVAT, {ADVICE}")
    if root.tag != "annotation":
        raise ValueError(f"{file} is no Pascal VOC: expected <annotation>, got <{root.tag}>")
    return root


def _text(file: Path) -> str:
    content = file.read_bytes()
    declared = _ENCODING.match(content.removeprefix(codecs.BOM_UTF8))
    name = declared[1].decode("ascii", "replace") if declared else "utf-8"
    marked = next((encoding for mark, encoding in MARKS if content.startswith(mark)), None)
    encoding = marked or LARGER.get(name.lower(), name)
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise ValueError(
            f"{file} names the encoding {name}, unknown here: save as UTF-8"
        ) from error
    except UnicodeError as error:
        raise ValueError(f"{file} is not {name} text as it says: save it as UTF-8") from error


def _classes(file: Path) -> set[str]:
    """The class names of a file, none of one that cannot be read."""
    try:
        names = _parse(file).findall("object/name")
    except (OSError, ValueError):
        return set()
    return {name.text.strip() for name in names if name.text and name.text.strip()}
