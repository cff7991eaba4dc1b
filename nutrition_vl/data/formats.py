"""Readers of the formats others label in, one each: COCO, YOLO, Pascal VOC, conversations."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import supervision as sv
import yaml

from nutrition_vl.boxes import EXAMPLE, from_text


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


def read_json(file: Path, split: str, skipped: list[Skipped] | None = None) -> list[Sample]:
    """COCO where the file holds an object, conversations where it holds a list or JSON lines."""
    if file.suffix == ".jsonl":
        return read_conversations(file, read_jsonl(file, skipped), split, skipped)
    content = _parse_json(file, _read_text(file))
    if isinstance(content, list):
        return read_conversations(file, content, split, skipped)
    return read_coco(file, content)


def read_coco(file: Path, content: Mapping) -> list[Sample]:
    """COCO instances; the photos lie beside the file or in `images` beside it."""
    require(("images", "annotations", "categories"), content, file)
    with _naming(file):
        names = [image["file_name"] for image in content["images"]]
        beside = not names or (file.parent / names[0]).exists()
        folder = file.parent if beside else file.parent / "images"
        return _from_supervision(sv.DetectionDataset.from_coco(str(folder), str(file)))


def read_yolo(folder: Path, split: str) -> list[Sample]:
    """YOLO: data.yaml names each split's folder of photos; labels lie in `labels` for `images`."""
    file = folder / "data.yaml"
    try:
        config = yaml.safe_load(_read_text(file))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    require(("names",), config, file)
    splits = [name for name in ("train", "val", "test") if config.get(name)]
    named = str(config[choose(split, splits, file)]) if splits else "images"
    images = _yolo_images(folder, config.get("path") or ".", named)
    labels = "labels".join(str(images).rsplit("images", 1))
    with _naming(file):
        return _from_supervision(sv.DetectionDataset.from_yolo(str(images), labels, str(file)))


def _yolo_images(folder: Path, root: str, named: str) -> Path:
    # Roboflow's exports say ../train/images of the folder train/images beside data.yaml.
    for candidate in (folder / root / named, folder / named, folder / named.removeprefix("../")):
        if candidate.is_dir():
            return candidate.resolve()
    raise FileNotFoundError(f"data.yaml of {folder} names {named}, and there is no such folder")


def _from_supervision(found: sv.DetectionDataset) -> list[Sample]:
    return [
        Sample(
            id=Path(path).stem,
            image=path,
            xyxy=found.annotations[path].xyxy.tolist(),
            labels=[str(name) for name in found.annotations[path].data.get("class_name", [])],
            normalized=False,
        )
        for path in sorted(found.image_paths)
    ]


def read_voc(folder: Path, split: str) -> list[Sample]:
    """Pascal VOC: Annotations, JPEGImages, ImageSets/Main/SPLIT.txt, or each .xml beside its photo.

    Read here and not by supervision (0.31), which decodes every photo to do so.
    """
    lists = {file.stem: file for file in folder.glob("ImageSets/Main/*.txt")}
    named = set(_read_text(lists[choose(split, lists, folder)]).split()) if lists else None
    files = sorted([*folder.glob("Annotations/*.xml"), *folder.glob("*.xml")])
    return [_voc_sample(file, folder) for file in files if named is None or file.stem in named]


def _voc_sample(file: Path, folder: Path) -> Sample:
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{file} is not XML: {error}") from error
    photos = folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else file.parent
    objects = root.findall("object")
    try:
        # Pixels count from 1 and both ends belong to the box, so only the first corner moves.
        boxes = [
            [
                float(found.findtext(f"bndbox/{side}", ""))
                for side in ("xmin", "ymin", "xmax", "ymax")
            ]
            for found in objects
        ]
    except ValueError as error:
        raise ValueError(f"{file} has an object without four numbers in its bndbox") from error
    return Sample(
        id=file.stem,
        image=str(photos / root.findtext("filename", f"{file.stem}.jpg")),
        xyxy=[[x0 - 1, y0 - 1, x1, y1] for x0, y0, x1, y1 in boxes],
        labels=[found.findtext("name", "") for found in objects],
        normalized=False,
    )


def read_conversations(
    file: Path, entries: list[dict], split: str, skipped: list[Skipped] | None = None
) -> list[Sample]:
    """Chats, [{"image": ..., "conversations" or "messages": [...]}], with boxes in the answers."""
    read = [
        attempt(skipped, entry.get("image"), _conversation, entry, file)
        for entry in of_split(entries, split, file)
    ]
    samples = [sample for sample in read if sample]
    if samples and not any(sample.xyxy for sample in samples):
        raise ValueError(f"no answer in {file} holds a box; one is written {EXAMPLE}")
    return samples


def _conversation(entry: dict, file: Path) -> Sample:
    chat = "conversations" if "conversations" in entry else "messages"
    require(("image", chat), entry, file)
    with _naming(f"{file}, {entry['image']}"):
        said = [_said(turn) for turn in entry[chat] if _speaker(turn) in ("gpt", "assistant")]
        image = file.parent / entry["image"]
        parsed = from_text("\n".join(said), (1, 1))
    return Sample(
        id=image.stem,
        image=str(image),
        xyxy=parsed.detections.xyxy.tolist(),
        labels=list(parsed.detections.data["class_name"]),
        malformed=parsed.malformed,
    )


def _speaker(turn: dict) -> str | None:
    return turn.get("role") or turn.get("from")


def _said(turn: dict) -> str:
    content = turn.get("content") or turn.get("value") or ""
    return (
        content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    )


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
def _naming(where: object) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{where} does not follow its format: {error!r}") from error


def read_jsonl(file: Path, skipped: list[Skipped] | None = None) -> list[dict]:
    """The objects of a file, one a line."""
    rows = [
        attempt(skipped, f"line {number}", _parse_json, file, line, number)
        for number, line in enumerate(_read_text(file).split("\n"), 1)
        if line.strip()
    ]
    return [row for row in rows if row is not None]


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from error


def _parse_json(file: Path, text: str, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}, line {line + error.lineno - 1}: not JSON ({error.msg})"
        ) from error
