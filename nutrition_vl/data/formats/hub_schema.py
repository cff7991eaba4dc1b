"""Reads rows in the schema of the Open Food Facts set: metadata.jsonl, parquet, hub."""

from collections.abc import Mapping
from pathlib import Path

import datasets
from datasets import Dataset
from datasets.exceptions import DatasetGenerationError

from nutrition_vl.data.rows import (
    Sample,
    Skipped,
    attempt,
    choose,
    of_split,
    read_jsonl,
    require,
    stored,
)


def read_hub(name: str, split: str) -> Dataset:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"there is no file or folder {name}")
    try:
        return datasets.load_dataset(name, split=split)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"{name} is neither a file or folder nor found on the hub: {error}"
        ) from error


def read_metadata(folder: Path, split: str, skipped: list[Skipped] | None) -> list[Sample]:
    file = folder / "metadata.jsonl"
    if not file.exists():
        splits = [entry.parent.name for entry in folder.glob("*/metadata.jsonl")]
        file = folder / choose(split, splits, folder) / "metadata.jsonl"
    rows = of_split(read_jsonl(file, skipped), split, file)
    read = [attempt(skipped, row.get("file_name"), _listed, row, file) for row in rows]
    return [sample for sample in read if sample]


def _listed(row: Mapping, file: Path) -> Sample:
    require(("file_name", "objects"), row, file)
    if not isinstance(row["file_name"], str):
        raise ValueError(f"{file}: file_name must be a path in quotes, not {row['file_name']!r}")
    return sample_of(row, str(file.parent / row["file_name"]), file)


def read_parquet(path: Path, split: str) -> Dataset:
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    shards = [file for file in files if "-of-" in file.name]  # train-00000-of-00002.parquet
    if shards and path.is_dir():
        name = choose(split, {file.name.split("-")[0] for file in shards}, path)
        files = [file for file in shards if file.name.split("-")[0] == name]
    try:
        table = Dataset.from_parquet([str(file) for file in files])
    except (ValueError, DatasetGenerationError) as error:
        raise ValueError(f"{path} is no readable parquet: {error}") from error
    if "split" not in table.column_names:
        return table
    names = [str(name) for name in table["split"]]
    chosen = choose(split, set(names), path)
    return table.select([i for i, name in enumerate(names) if name == chosen])


def sample_of(row: Mapping, image: str | dict, source: str | Path) -> Sample:
    """A row as the Open Food Facts set has it: boxes [y_min, x_min, y_max, x_max] from 0 to 1."""
    if not image or not any(stored(image)):
        raise ValueError(f"{source} has no image: put its bytes or path there, or leave it out")
    name = str(row.get("image_id") or Path(stored(image)[1] or "photo").stem)
    boxes, labels = objects_of(row["objects"], f"{source}, {name}").values()
    named = len(boxes) == len(labels) and all(isinstance(label, str) for label in labels)
    if not named or not all(map(_is_box, boxes)):
        raise ValueError(f"{source}, {name}: each box needs four numbers and a category_name")
    if any(abs(number) > 2 for box in boxes for number in box):
        raise ValueError(f"{source}, {name}: bbox must be [y_min, x_min, y_max, x_max] from 0 to 1")
    return Sample(
        id=name,
        image=image,
        xyxy=[[x0, y0, x1, y1] for y0, x0, y1, x1 in boxes],
        labels=labels,
        stored_size=_size(row),
        product=str(row.get("group") or _meta(row, f"{source}, {name}").get("barcode") or ""),
    )


def _is_box(box: object) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(number, int | float) for number in box)
    )


def _meta(row: Mapping, where: str) -> Mapping:
    meta = row.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise ValueError(f'{where}: meta must be an object like {{"barcode": ...}}, not {meta!r}')
    return meta


def objects_of(found: dict | None, source: str | Path) -> dict[str, list]:
    """The boxes and labels of a row, in this order; none where they or all `objects` are null."""
    columns = ("bbox", "category_name")
    objects: Mapping = dict.fromkeys(columns) if found is None else found
    require(columns, objects, f"objects in {source}")
    lists = {name: [] if objects[name] is None else objects[name] for name in columns}
    for name, values in lists.items():
        if not isinstance(values, list):
            raise ValueError(f"{source}: {name} must list an entry for each box, not {values!r}")
    return lists


def undecoded(table: Dataset) -> Dataset:
    """The table with its photos as they are stored."""
    return table.cast_column("image", datasets.Image(decode=False))


def _size(row: Mapping) -> tuple[int, int] | None:
    width, height = row.get("width"), row.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
