"""Every source of labelled photos becomes the same rows: upright photos, boxes in their pixels."""

import logging
from collections.abc import Mapping
from pathlib import Path

import datasets
import numpy as np
import supervision as sv
from datasets import Dataset, Features, List, Value, concatenate_datasets
from PIL import Image

from nutrition_vl.boxes import LABELS, make_detections
from nutrition_vl.data.corrections import correct
from nutrition_vl.data.formats.hub_schema import objects_of, sample_of, undecoded
from nutrition_vl.data.photos import open_photo, photo_size
from nutrition_vl.data.rows import Sample, Skipped, attempt, require, stored, unique
from nutrition_vl.data.sources import read_source

DATASET = "openfoodfacts/nutrition-table-detection"

logger = logging.getLogger(__name__)


class Photo(datasets.Image):
    """The image column: `datasets`' own, opened by `open_photo` on access.

    Reloaded from a cache it becomes `datasets.Image(mode="RGB")`, which is upright and RGB too.
    """

    def decode_example(self, value: dict, token_per_repo_id: dict | None = None) -> Image.Image:
        """The upright RGB photo; ValueError names the file that cannot be read."""
        return open_photo(*stored(value))


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
    corrections: Path | None = None,
    label: str | None = None,
) -> Dataset:
    """The first `limit` photos of a split as rows of FEATURES; boxes in the upright photo's pixels.

    `source` is a hub id, a folder (metadata.jsonl, parquet, YOLO or Pascal VOC) or a file (parquet,
    COCO JSON, conversation JSON); one without splits serves as any. Raises ValueError or
    FileNotFoundError with the reason; with a list `skipped`, single rows that cannot be read are
    put there instead. `corrections` is a file for `corrections.correct`. `label` names the class
    that is the nutrition table; boxes of other classes are left out.
    """
    found = read_source(source, split, skipped)
    if not len(found):
        raise ValueError(f"{source} holds no photos")
    if isinstance(found, Dataset):
        rows = _rows_of_table(found, limit, source, skipped, label)
    else:
        names = _renaming({name for sample in found for name in sample.labels}, source, label)
        read = [attempt(skipped, sample.id, _row, sample, names) for sample in found[:limit]]
        rows = Dataset.from_list([row for row in read if row], _COUNTED)
    dropped = sum(rows["dropped"])
    if dropped:
        logger.warning(
            "%s: left out %d boxes: malformed, of another class or without area in their photo",
            source,
            dropped,
        )
    rows = rows.remove_columns("dropped")
    rows = rows.remove_columns("id").add_column("id", unique(rows["id"]))
    return rows if corrections is None else correct(rows, corrections, split, limit is None)


def truth(row: Mapping) -> sv.Detections:
    """The true boxes of a row."""
    return make_detections(row["xyxy"], row["label"])


def _rows_of_table(
    table: Dataset,
    limit: int | None,
    source: str | Path,
    skipped: list[Skipped] | None,
    label: str | None,
) -> Dataset:
    require(("image", "objects"), table.features, source)
    labels = {
        str(name)
        for found in table["objects"]
        for name in objects_of(found, source)["category_name"]
        if name is not None  # its row is refused later, by its number
    }
    names = _renaming(labels, source, label)
    table = undecoded(table).select(range(len(table))[:limit])
    # Not Dataset.map: it would copy all photos into its cache, and find old rows there later.
    read = [
        attempt(skipped, row.get("image_id"), _row_of_table, row, names, f"{source}, row {n}")
        for n, row in enumerate(table, 1)
    ]
    facts = Dataset.from_list([row or dict.fromkeys(_COUNTED) for row in read], _COUNTED)
    columns = [table.select_columns("image"), facts.remove_columns("image")]
    joined = concatenate_datasets(columns, axis=1).cast_column("image", Photo(mode="RGB"))
    return joined.select([index for index, row in enumerate(read) if row])


def _row_of_table(row: Mapping, names: dict[str, str], source: str) -> dict:
    return _row(sample_of(row, row["image"], source), names) | {"image": None}


def _row(sample: Sample, names: dict[str, str]) -> dict:
    width, height = photo_size(*stored(sample.image))
    scale = (width, height) if sample.normalized else (1, 1)
    corners = np.sort(np.array(sample.xyxy, dtype=float).reshape(-1, 2, 2) * scale, axis=1)
    corners = corners.clip(0, (width, height))
    known = np.array([label in names for label in sample.labels], dtype=bool)
    kept = known & (corners[:, 0] < corners[:, 1]).all(axis=1)
    return {
        "id": sample.id,
        "image": sample.image,
        "width": width,
        "height": height,
        "xyxy": corners[kept].reshape(-1, 4).tolist(),
        "label": [names[sample.labels[i]] for i in np.flatnonzero(kept)],
        "dropped": int((~kept).sum()) + sample.malformed,
    }


def _renaming(labels: set[str], source: str | Path, label: str | None) -> dict[str, str]:
    """Our names for a source's labels: an only class is the nutrition table, whatever its name."""
    if label is not None:
        return {label: LABELS[0]}
    if labels <= set(LABELS):
        return {name: name for name in LABELS}
    if len(labels) == 1:
        logger.warning("%s: reading its one label %s as %s", source, *labels, LABELS[0])
        return dict.fromkeys(labels, LABELS[0])
    named = ", ".join(sorted(map(str, labels)))
    raise ValueError(f"{source} has the labels {named}: rename them to {', '.join(LABELS)}")
