"""Every source of labelled photos becomes the same rows: upright photos, boxes in their pixels."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import datasets
import numpy as np
import supervision as sv
from datasets import Dataset, Features, List, Value, concatenate_datasets
from datasets.exceptions import DatasetGenerationError
from PIL import Image

from nutrition_vl import formats
from nutrition_vl.boxes import LABELS, make_detections
from nutrition_vl.formats import Sample, Skipped, attempt
from nutrition_vl.photos import open_photo, photo_size

DATASET = "openfoodfacts/nutrition-table-detection"

logger = logging.getLogger(__name__)


class Photo(datasets.Image):
    """The image column: `datasets`' own, opened by `open_photo` on access.

    Reloaded from a cache it becomes `datasets.Image(mode="RGB")`, which is upright and RGB too.
    """

    def decode_example(self, value: dict, token_per_repo_id: dict | None = None) -> Image.Image:
        """The upright RGB photo; ValueError names the file that cannot be read."""
        return open_photo(*_stored(value))


FEATURES = Features(
    {
        "id": Value("string"),
        "image": Photo(mode="RGB"),
        "width": Value("int32"),
        "height": Value("int32"),
        "xyxy": List(List(Value("float32"), length=4)),
        "label": List(Value("string")),
    }
)
_COUNTED = Features(FEATURES | {"dropped": Value("int32")})


def load_split(
    source: str | Path = DATASET,
    split: str = "val",
    limit: int | None = None,
    skipped: list[Skipped] | None = None,
) -> Dataset:
    """The first `limit` photos of a split as rows of FEATURES; boxes in the upright photo's pixels.

    `source` is a hub id, a folder (metadata.jsonl, parquet, YOLO or Pascal VOC) or a file (parquet,
    COCO JSON, conversation JSON); one without splits serves as any. Raises ValueError or
    FileNotFoundError with the reason; with a list `skipped`, single rows that cannot be read are
    put there instead.
    """
    found = _read(source, split, skipped)
    if not len(found):
        raise ValueError(f"{source} holds no photos")
    if isinstance(found, Dataset):
        rows = _rows_of_table(found, limit, source, skipped)
    else:
        names = _renaming({label for sample in found for label in sample.labels}, source)
        read = [attempt(skipped, sample.id, _row, sample, names) for sample in found[:limit]]
        rows = Dataset.from_list([row for row in read if row], _COUNTED)
    dropped = sum(rows["dropped"])
    if dropped:
        logger.warning(
            "%s: left out %d boxes that are malformed or without area in their photo",
            source,
            dropped,
        )
    return _with_unique_ids(rows.remove_columns("dropped"))


def truth(row: Mapping) -> sv.Detections:
    """The true boxes of a row."""
    return make_detections(row["xyxy"], row["label"])


def _read(source: str | Path, split: str, skipped: list[Skipped] | None) -> list[Sample] | Dataset:
    path = Path(source)
    if not path.exists():
        return _read_hub(str(source), split)
    if path.name in ("metadata.jsonl", "data.yaml"):
        path = path.parent
    if any(path.glob("metadata.jsonl")) or any(path.glob("*/metadata.jsonl")):
        return _read_metadata(path, split, skipped)
    if any(path.glob("data.yaml")):
        return formats.read_yolo(path, split)
    if path.suffix == ".parquet" or any(path.rglob("*.parquet")):
        return _read_parquet(path, split)
    if any(path.glob("*.xml")) or any(path.glob("Annotations/*.xml")):
        return formats.read_voc(path, split)
    if path.suffix in (".json", ".jsonl"):
        return formats.read_json(path, split, skipped)
    raise ValueError(
        f"{source} is no data set: name a folder with metadata.jsonl, *.parquet, data.yaml (YOLO) "
        "or *.xml (Pascal VOC), or a .json, .jsonl or .parquet file"
    )


def _read_hub(name: str, split: str) -> Dataset:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"there is no file or folder {name}")
    try:
        return datasets.load_dataset(name, split=split)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"{name} is neither a file or folder nor found on the hub: {error}"
        ) from error


def _read_metadata(folder: Path, split: str, skipped: list[Skipped] | None) -> list[Sample]:
    file = folder / "metadata.jsonl"
    if not file.exists():
        splits = [entry.parent.name for entry in folder.glob("*/metadata.jsonl")]
        file = folder / formats.choose(split, splits, folder) / "metadata.jsonl"
    rows = formats.of_split(formats.read_jsonl(file, skipped), split, file)
    read = [attempt(skipped, row.get("file_name"), _listed, row, file) for row in rows]
    return [sample for sample in read if sample]


def _listed(row: Mapping, file: Path) -> Sample:
    formats.require(("file_name", "objects"), row, file)
    return _sample(row, str(file.parent / row["file_name"]), file)


def _read_parquet(path: Path, split: str) -> Dataset:
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    shards = [file for file in files if "-of-" in file.name]  # train-00000-of-00002.parquet
    if shards and path.is_dir():
        formats.choose(split, {file.name.split("-")[0] for file in shards}, path)
        files = [file for file in shards if file.name.split("-")[0] == split]
    try:
        table = Dataset.from_parquet([str(file) for file in files])
    except (ValueError, DatasetGenerationError) as error:
        raise ValueError(f"{path} is no readable parquet: {error}") from error
    if "split" not in table.column_names:
        return table
    formats.choose(split, set(table["split"]), path)
    return table.select([i for i, name in enumerate(table["split"]) if name == split])


def _rows_of_table(
    table: Dataset, limit: int | None, source: str | Path, skipped: list[Skipped] | None
) -> Dataset:
    formats.require(("image", "objects"), table.features, source)
    labels = {
        label for found in table["objects"] for label in _objects(found, source)["category_name"]
    }
    names = _renaming(labels, source)
    table = table.cast_column("image", datasets.Image(decode=False)).select(
        range(len(table))[:limit]
    )
    # Not Dataset.map: it would copy all photos into its cache, and find old rows there later.
    read = [
        attempt(skipped, row.get("image_id"), _row_of_table, row, names, source) for row in table
    ]
    facts = Dataset.from_list([row or dict.fromkeys(_COUNTED) for row in read], _COUNTED)
    columns = [table.select_columns("image"), facts.remove_columns("image")]
    joined = concatenate_datasets(columns, axis=1).cast_column("image", Photo(mode="RGB"))
    return joined.select([index for index, row in enumerate(read) if row])


def _row_of_table(row: Mapping, names: dict[str, str], source: str | Path) -> dict:
    return _row(_sample(row, row["image"], source), names) | {"image": None}


def _sample(row: Mapping, image: str | dict, source: str | Path) -> Sample:
    """A row as DATASET has it: a box is [y_min, x_min, y_max, x_max] in shares of the sides."""
    name = str(row.get("image_id") or Path(_stored(image)[1] or "photo").stem)
    objects = _objects(row["objects"], source)
    boxes, labels = objects["bbox"], objects["category_name"]
    numbers = [number for box in boxes for number in box]
    real = all(isinstance(number, int | float) for number in numbers)
    if len(boxes) != len(labels) or any(len(box) != 4 for box in boxes) or not real:
        raise ValueError(f"{source}, {name}: each box needs four numbers and a category_name")
    if any(abs(number) > 2 for number in numbers):
        raise ValueError(f"{source}, {name}: bbox must be [y_min, x_min, y_max, x_max] from 0 to 1")
    return Sample(name, image, [[x0, y0, x1, y1] for y0, x0, y1, x1 in boxes], labels)


def _objects(found: dict | None, source: str | Path) -> dict:
    objects = {"bbox": [], "category_name": []} if found is None else found
    formats.require(("bbox", "category_name"), objects, f"objects in {source}")
    return objects


def _row(sample: Sample, names: dict[str, str]) -> dict:
    width, height = photo_size(*_stored(sample.image))
    scale = (width, height) if sample.normalized else (1, 1)
    corners = np.sort(np.array(sample.xyxy, dtype=float).reshape(-1, 2, 2) * scale, axis=1)
    corners = corners.clip(0, (width, height))
    kept = (corners[:, 0] < corners[:, 1]).all(axis=1)
    return {
        "id": sample.id,
        "image": sample.image,
        "width": width,
        "height": height,
        "xyxy": corners[kept].reshape(-1, 4).tolist(),
        "label": [names.get(sample.labels[i], sample.labels[i]) for i in np.flatnonzero(kept)],
        "dropped": int((~kept).sum()) + sample.malformed,
    }


def _stored(image: str | dict) -> tuple[str | bytes, str | None]:
    """Of the image column what `open_photo` asks for: the photo and what to call it."""
    if isinstance(image, str):
        return image, image
    return image["bytes"] or image["path"], image["path"]


def _renaming(labels: set[str], source: str | Path) -> dict[str, str]:
    """Our names for a source's labels: an only class is the nutrition table, whatever its name."""
    if labels <= set(LABELS):
        return {}
    if len(labels) == 1:
        logger.warning("%s: reading its one label %s as %s", source, *labels, LABELS[0])
        return dict.fromkeys(labels, LABELS[0])
    named = ", ".join(sorted(map(str, labels)))
    raise ValueError(f"{source} has the labels {named}: rename them to {', '.join(LABELS)}")


def _with_unique_ids(rows: Dataset) -> Dataset:
    """Ids name photos in result files, so the second `a` (of another folder) becomes `a-2`."""
    seen: Counter[str] = Counter()
    ids = []
    for name in rows["id"]:
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return rows if len(seen) == len(ids) else rows.remove_columns("id").add_column("id", ids)
