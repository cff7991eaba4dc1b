"""Every source of labelled photos becomes the same rows: upright photos, boxes in their pixels."""

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import datasets
import supervision as sv
from datasets import Dataset, Features, List, Value, concatenate_datasets
from PIL import Image

from nutrition_vl.boxes import make_detections
from nutrition_vl.data.classes import renaming, warn_of_others
from nutrition_vl.data.corrections import correct, read_corrections
from nutrition_vl.data.formats.hub_schema import (
    declared_classes,
    objects_of,
    require_corners,
    sample_of,
    undecoded,
)
from nutrition_vl.data.ids import numbered
from nutrition_vl.data.photos import open_photo, photo_frame
from nutrition_vl.data.rows import DATASET, Sample, Skipped, attempt, require, skip, stored
from nutrition_vl.data.sizes import turned, upright
from nutrition_vl.data.sources import read_source, with_ids

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
# Internal columns: labels of boxes that are left out, the number of boxes that repeat another, and
# `turned` of sizes.py.
_OTHERS, _REPEATED, _TURNED = "others", "repeated", "turned"
_INTERNAL = {_OTHERS: List(Value("string")), _REPEATED: Value("int32"), _TURNED: Value("bool")}
_READ = Features(FEATURES | _INTERNAL)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pauses the garbage collector: labels hold no cycles, and it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collection()
def load_split(
    source: str | Path = DATASET,
    split: str = "val",
    limit: int | None = None,
    skipped: list[Skipped] | None = None,
    corrections: Path | None = None,
    label: str | None = None,
) -> Dataset:
    """The first `limit` photos of a split as rows of FEATURES; boxes in the upright photo's pixels.

    `source` is a hub id, a folder (metadata.jsonl, parquet, YOLO, Pascal VOC or COCO) or a file
    (parquet, COCO, Label Studio or conversation JSON); one without splits serves as any. Raises
    ValueError or FileNotFoundError with the reason; with a list `skipped`, single rows that cannot
    be read are put there instead. `corrections` is a file for `read_corrections`. `label` names
    the class that is the nutrition table; boxes of other classes are left out.
    """
    before = len(skipped or ())
    entries = {} if corrections is None else read_corrections(corrections, split)
    content = read_source(source, split, skipped)
    read = _rows_of_table if isinstance(content, Dataset) else _rows
    rows = read(content, limit, source, skipped, label, entries.keys()) if len(content) else None
    if rows is None:
        raise ValueError(_no_rows(source, (skipped or [])[before:]))
    _warn_of_boxes(rows, source)
    rows = _without_doubtful_turns(rows, source, skipped).remove_columns([*_INTERNAL])
    return (
        rows if corrections is None else correct(rows, entries, corrections, split, limit is None)
    )


def truth(row: Mapping) -> sv.Detections:
    """The true boxes of a row."""
    return make_detections(row["xyxy"], row["label"])


def _rows(
    samples: list[Sample],
    limit: int | None,
    source: str | Path,
    skipped: list[Skipped] | None,
    label: str | None,
    corrected: Set[str],
) -> Dataset | None:
    samples = [_without_boxes(sample, corrected) for sample in with_ids(samples)]
    used = {name for sample in samples for name in sample.labels}
    declared = frozenset().union(*{sample.classes for sample in samples})
    names = renaming(used, declared, source, label)
    read = [attempt(skipped, sample.id, _row, sample, names) for sample in samples[:limit]]
    rows = [row for row in read if row]
    return _table(rows) if rows else None


def _table(rows: list[dict]) -> Dataset:
    # Not Dataset.from_list, which takes twice the time.
    return Dataset.from_dict({name: [row[name] for row in rows] for name in _READ}, _READ)


def _rows_of_table(
    table: Dataset,
    limit: int | None,
    source: str | Path,
    skipped: list[Skipped] | None,
    label: str | None,
    corrected: Set[str],
) -> Dataset | None:
    require(("image", "objects"), table.features, source)
    objects = [objects_of(entry, source) for entry in table["objects"]]
    require_corners([box for one in objects for box in one["bbox"]], source)
    # A row without a name is refused later, by its number.
    used = {str(name) for one in objects for name in one["category_name"] if name is not None}
    declared = declared_classes(Path(source))
    names, counts = renaming(used, declared, source, label), Counter[str]()
    table = undecoded(table).select(range(len(table))[:limit])
    read_row = partial(_row_of_table, names=names, counts=counts, corrected=corrected)
    # Not Dataset.map: it would copy all photos into its cache, and find old rows there later.
    read = [
        attempt(skipped, row.get("image_id"), read_row, row, f"{source}, row {n}")
        for n, row in enumerate(table, 1)
    ]
    if not any(read):
        return None
    facts = _table([row or dict.fromkeys(_READ) for row in read])
    columns = [table.select_columns("image"), facts.remove_columns("image")]
    joined = concatenate_datasets(columns, axis=1).cast_column("image", Photo(mode="RGB"))
    rows = joined.select([index for index, row in enumerate(read) if row])
    return rows.select_columns(list(_READ))


def _row_of_table(
    row: Mapping, source: str, names: dict[str, str], counts: Counter[str], corrected: Set[str]
) -> dict:
    sample = sample_of(row, row["image"], source)
    sample = _without_boxes(replace(sample, id=numbered(sample.id, counts)), corrected)
    return _row(sample, names) | {"image": None}


def _without_boxes(sample: Sample, corrected: Set[str]) -> Sample:
    """A sample whose boxes a correction replaces, so that bad ones are no reason to refuse it."""
    return replace(sample, xyxy=[], labels=[]) if sample.id in corrected else sample


def _row(sample: Sample, names: dict[str, str]) -> dict:
    if sample.malformed:
        raise ValueError(f"{sample.id}: {sample.malformed} of its boxes cannot be read")
    photo, name = stored(sample.image)
    if name and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise ValueError(f"{name} has a name that is not UTF-8, which no table can hold: rename it")
    frame = photo_frame(photo, name)
    corners = upright(sample, frame)
    ours = [index for index, name in enumerate(sample.labels) if name in names]
    unlike = {(names[sample.labels[index]], *sample.xyxy[index]): index for index in reversed(ours)}
    once = sorted(unlike.values())  # a box written twice is one table
    return {
        "id": sample.id,
        "image": sample.image,
        "width": frame.size[0],
        "height": frame.size[1],
        "xyxy": corners[once].reshape(-1, 4).tolist(),
        "label": [names[sample.labels[index]] for index in once],
        _OTHERS: [name for name in sample.labels if name not in names],
        _REPEATED: len(ours) - len(once),
        _TURNED: turned(sample, frame),
    }


def _no_rows(source: str | Path, skipped: list[Skipped]) -> str:
    if not skipped:
        return f"{source} holds no photos"
    return f"{source} holds no photos that can be read: {skipped[0].error}"


def _warn_of_boxes(rows: Dataset, source: str | Path) -> None:
    warn_of_others(source, Counter(name for names in rows[_OTHERS][:] for name in names))
    if repeated := sum(rows[_REPEATED][:]):
        logger.warning("%s: left out repeated boxes of a photo: %d", source, repeated)


def _without_doubtful_turns(
    rows: Dataset, source: str | Path, skipped: list[Skipped] | None
) -> Dataset:
    """Leaves out upside-down and mirrored photos of a tool that draws boxes before turning.

    Their own sizes cannot tell when their boxes were drawn, so those of the other photos decide.
    """
    turns, ids = rows[_TURNED][:], rows["id"]
    doubtful = [at for at, turn in enumerate(turns) if turn is None]
    if not doubtful:
        return rows
    if True not in turns:
        logger.warning(
            "%s: %d photos are upside down, mirrored or square with an orientation tag (the first "
            "is %s): reading their boxes as drawn on the upright photo",
            source, len(doubtful), ids[doubtful[0]],
        )  # fmt: skip
        return rows
    for at in doubtful:
        reason = "its boxes were drawn before or after turning, which its size cannot tell"
        skip(skipped, ids[at], f"{source}, {ids[at]}: {reason}: remove its orientation tag")
    return rows.select([at for at, turn in enumerate(turns) if turn is not None])
