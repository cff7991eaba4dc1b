"""Finds out what a source of labelled photos is, and reads what it says of each."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from datasets import Dataset
from PIL import Image

from nutrition_vl.data.formats.coco import read_coco
from nutrition_vl.data.formats.conversations import read_conversations
from nutrition_vl.data.formats.hub_schema import (
    read_hub,
    read_metadata,
    read_parquet,
    sample_of,
    undecoded,
)
from nutrition_vl.data.formats.pascal_voc import read_voc
from nutrition_vl.data.formats.yolo import read_yolo
from nutrition_vl.data.photos import open_photo
from nutrition_vl.data.rows import (
    Sample,
    Skipped,
    attempt,
    parse_json,
    read_jsonl,
    read_text,
    require,
    stored,
    unique,
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
    if path.name in ("metadata.jsonl", "data.yaml"):
        path = path.parent
    if any(path.glob("metadata.jsonl")) or any(path.glob("*/metadata.jsonl")):
        return read_metadata(path, split, skipped)
    if any(path.glob("data.yaml")):
        return read_yolo(path, split)
    if path.suffix == ".parquet" or any(path.rglob("*.parquet")):
        return read_parquet(path, split)
    if any(path.glob("*.xml")) or any(path.glob("Annotations/*.xml")):
        return read_voc(path, split)
    if path.suffix in (".json", ".jsonl"):
        return read_json(path, split, skipped)
    raise ValueError(
        f"{source} is no data set: name a folder with metadata.jsonl, *.parquet, data.yaml (YOLO) "
        "or *.xml (Pascal VOC), or a .json, .jsonl or .parquet file"
    )


def read_json(file: Path, split: str, skipped: list[Skipped] | None = None) -> list[Sample]:
    """COCO where the file holds an object, conversations where it holds a list or JSON lines."""
    if file.suffix == ".jsonl":
        return read_conversations(file, read_jsonl(file, skipped), split, skipped)
    content = parse_json(file, read_text(file))
    if isinstance(content, list):
        return read_conversations(file, content, split, skipped)
    return read_coco(file, content)


def read_samples(
    source: str | Path, split: str, skipped: list[Skipped] | None = None
) -> list[Sample]:
    """What a source says of each photo of a split, under the ids of `load_split`, but unchecked."""
    found = read_source(source, split, skipped)
    if isinstance(found, Dataset):
        require(("image", "objects"), found.features, source)
        read = [
            attempt(
                skipped, row.get("image_id"), sample_of, row, row["image"], f"{source}, row {n}"
            )
            for n, row in enumerate(undecoded(found), 1)
        ]
        found = [sample for sample in read if sample]
    ids = unique(sample.id for sample in found)
    return [replace(sample, id=name) for sample, name in zip(found, ids, strict=True)]


def photo_of(sample: Sample) -> Image.Image:
    """The upright RGB photo of a sample; ValueError names the file that cannot be read."""
    return open_photo(*stored(sample.image))


def photo_hashes(rows: Dataset) -> list[str]:
    """SHA-256 of each photo's file, in the rows' order; FileNotFoundError names a lost one."""
    photos = undecoded(rows.select_columns("image"))
    return [sha256(_file(row["image"])).hexdigest() for row in photos]


def _file(image: dict) -> bytes:
    photo, _ = stored(image)
    if isinstance(photo, bytes):
        return photo
    try:
        return Path(photo).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no photo {photo}") from error
