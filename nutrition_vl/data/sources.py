"""Finds the format of a source of labelled photos and reads its samples."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

from nutrition_vl.data.classes import renaming
from nutrition_vl.data.formats.coco import read_coco
from nutrition_vl.data.formats.conversations import read_conversations
from nutrition_vl.data.formats.hub_schema import (
    declared_classes,
    read_hub,
    read_metadata,
    read_parquet,
    sample_of,
    undecoded,
)
from nutrition_vl.data.formats.label_studio import is_label_studio, read_label_studio
from nutrition_vl.data.formats.other_tools import refuse_other_files, refuse_other_tools
from nutrition_vl.data.formats.pascal_voc import read_voc
from nutrition_vl.data.formats.yolo import class_names, find_yolo, read_yolo
from nutrition_vl.data.ids import unique
from nutrition_vl.data.paths import files_below
from nutrition_vl.data.photos import PhotoFile, open_photo
from nutrition_vl.data.rows import (
    SPLITS,
    Sample,
    Skipped,
    attempt,
    choose,
    read_json,
    read_jsonl,
    require,
    stored,
)


def read_source(
    source: str | Path, split: str, skipped: list[Skipped] | None = None
) -> list[Sample] | Dataset:
    """The samples of a split, or its table where the photos lie in one.

    Raises ValueError or FileNotFoundError with the reason; with a list `skipped`, single rows that
    cannot be read are put there instead.
    """
    path = Path(source)
    if not path.exists():
        return read_hub(str(source), split)
    if path.name == "metadata.jsonl":
        path = path.parent
    if path.suffix in (".yaml", ".yml"):
        return read_yolo(path, split, skipped)
    if path.suffix == ".parquet":
        return read_parquet(path, split)
    if path.suffix in (".json", ".jsonl"):
        return read_annotations(path, split, skipped)
    if path.is_dir():
        return _read_folder(path, split, skipped)
    refuse_other_files(path)
    raise ValueError(_UNKNOWN.format(source))


_UNKNOWN = (
    "{} is no data set: name a folder with metadata.jsonl, *.parquet, data.yaml (YOLO), *.xml "
    "(Pascal VOC) or COCO's .json, or a .json, .jsonl or .parquet file"
)


def _read_folder(folder: Path, split: str, skipped: list[Skipped] | None) -> list[Sample] | Dataset:
    if _is_metadata(folder):
        return read_metadata(folder, split, skipped)
    if config := find_yolo(folder):
        return read_yolo(config, split, skipped, folder)
    if any(folder.rglob("*.parquet")):
        return read_parquet(folder, split)
    if files_below(folder, (".xml",)):
        return read_voc(folder, split, skipped)
    if file := _json_of_split(folder, split):
        return read_annotations(file, split, skipped)
    refuse_other_files(folder)
    raise ValueError(_UNKNOWN.format(folder))


def _json_of_split(folder: Path, split: str) -> Path | None:
    """The annotation file of a split: in its folder, with its name, or the only one."""
    files = [
        file
        for pattern in ("*.json", "annotations/*.json", "*/*.json")
        for file in sorted(folder.glob(pattern))
        if pattern != "*/*.json" or file.parent.name in SPLITS
    ]
    files = files or sorted(folder.glob("*.jsonl"))
    named = [(file, _splits_named(file, folder)) for file in files]
    if any(names for _, names in named):
        name = choose(split, {name for _, names in named for name in names}, folder)
        files = [file for file, names in named if name in names]
    # COCO's own names, next to captions_ and person_keypoints_ of the same photos
    files = [file for file in files if file.stem.startswith("instances")] or files
    if len(set(files)) > 1:
        refuse_other_tools(files[0], read_json(files[0]))
        listed = ", ".join(str(file.relative_to(folder)) for file in files)
        raise ValueError(f"{folder} has several annotation files ({listed}): name one of them")
    return files[0] if files else None


def _splits_named(file: Path, folder: Path) -> set[str]:
    inner = file.relative_to(folder).with_suffix("").as_posix().lower()
    return set(re.split(r"[^a-z]+", inner)) & set(SPLITS)


def read_annotations(file: Path, split: str, skipped: list[Skipped] | None = None) -> list[Sample]:
    """COCO, Label Studio's tasks, or conversations, which may also be JSON lines."""
    if file.suffix == ".jsonl":
        rows = read_jsonl(file, skipped)
        refuse_other_tools(file, rows)
        return read_conversations(file, rows, split, skipped)
    content: Any = read_json(file)
    refuse_other_tools(file, content)
    if not isinstance(content, list):
        return read_coco(file, content, split, skipped)
    if is_label_studio(content):
        return read_label_studio(file, content, skipped)
    if content and all(isinstance(row, Mapping) and "image_id" in row for row in content):
        raise ValueError(f"{file} holds COCO results, and labels need images and categories too")
    return read_conversations(file, content, split, skipped)


def read_samples(
    source: str | Path, split: str, skipped: list[Skipped] | None = None
) -> list[Sample]:
    """The unchecked samples of a split under the ids of `load_split`."""
    content = read_source(source, split, skipped)
    if isinstance(content, Dataset):
        require(("image", "objects"), content.features, source)
        read = [
            attempt(
                skipped, row.get("image_id"), sample_of, row, row["image"], f"{source}, row {n}"
            )
            for n, row in enumerate(undecoded(content), 1)
        ]
        content = [sample for sample in read if sample]
    return with_ids(content)


def in_our_labels(
    samples: list[Sample], source: str | Path, label: str | None = None
) -> list[Sample]:
    """The samples under our labels, without the boxes of other classes, as `load_split` reads."""
    used = {name for sample in samples for name in sample.labels}
    declared = frozenset().union(*(sample.classes for sample in samples))
    names = renaming(used, declared | declared_classes(Path(source)), source, label)
    return [_renamed(sample, names) for sample in samples]


def _renamed(sample: Sample, names: dict[str, str]) -> Sample:
    pairs = zip(sample.xyxy, sample.labels, strict=True)
    ours = [(box, names[name]) for box, name in pairs if name in names]
    return replace(sample, xyxy=[box for box, _ in ours], labels=[name for _, name in ours])


def with_ids(samples: Iterable[Sample]) -> list[Sample]:
    """The samples under ids of their own."""
    samples = list(samples)
    ids = unique(sample.id for sample in samples)
    return [
        sample if sample.id == name else replace(sample, id=name)
        for sample, name in zip(samples, ids, strict=True)
    ]


def photo_of(sample: Sample) -> Image.Image:
    """The upright RGB photo of a sample; ValueError names the file that cannot be read."""
    return open_photo(*stored(sample.image))


def photo_hashes(rows: Dataset) -> list[str]:
    """SHA-256 of each photo's file, in the rows' order; FileNotFoundError names a lost one."""
    photos = undecoded(rows.select_columns("image"))
    return [sha256(photo_bytes(row["image"])).hexdigest() for row in photos]


def photo_file(image: str | dict) -> PhotoFile:
    """The file of a photo, from an undecoded image column."""
    return PhotoFile(*stored(image))


def photo_bytes(image: dict) -> bytes:
    """A photo's file, from an undecoded image column; FileNotFoundError names a lost one."""
    photo, _ = stored(image)
    if isinstance(photo, bytes):
        return photo
    try:
        return Path(photo).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no photo {photo}") from error
    except PermissionError as error:
        raise PermissionError(f"{photo} may not be read: change its permissions") from error


def numbered_classes(source: str | Path) -> dict[int, str] | None:
    """The class names of a YOLO source by their numbers; None for sources of other formats."""
    path = Path(source)
    if path.is_dir() and not _is_metadata(path):
        return class_names(config) if (config := find_yolo(path)) else None
    return class_names(path) if path.suffix in (".yaml", ".yml") else None


def annotation_file(source: str | Path, split: str) -> Path | None:
    """The JSON file that a source is read from; None for sources of other formats."""
    path = Path(source)
    if not path.is_dir():
        return path if path.suffix == ".json" else None
    is_other = _is_metadata(path) or find_yolo(path) or any(path.rglob("*.parquet"))
    return None if is_other or files_below(path, (".xml",)) else _json_of_split(path, split)


def _is_metadata(folder: Path) -> bool:
    return any(folder.glob("metadata.jsonl")) or any(folder.glob("*/metadata.jsonl"))
