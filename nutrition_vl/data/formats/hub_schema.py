"""Reads rows in the schema of the Open Food Facts set: metadata.jsonl, parquet, hub."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import datasets
from datasets import Dataset
from datasets.exceptions import DatasetGenerationError
from pyarrow import ArrowInvalid, parquet

from nutrition_vl.data.paths import locate
from nutrition_vl.data.rows import (
    SPLITS,
    Sample,
    Skipped,
    attempt,
    choose,
    is_box,
    of_split,
    read_jsonl,
    require,
    stored,
    without_shared_photos,
)

SWAPPED = 0.05  # of a source's boxes: fewer are slips, whose corners are put in order


def read_hub(name: str, split: str) -> Dataset:
    """The table of a split of a hub data set."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"there is no file or folder {name}")
    try:
        return datasets.load_dataset(name, split=split)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"{name} is neither a file or folder nor found on the hub: {error}"
        ) from error


def read_metadata(folder: Path, split: str, skipped: list[Skipped] | None) -> list[Sample]:
    """The samples of metadata.jsonl, or of that in the folder of the split."""
    file = folder / "metadata.jsonl"
    files = [file] if file.exists() else sorted(folder.glob("*/metadata.jsonl"))
    if not file.exists():
        file = folder / choose(split, [one.parent.name for one in files], folder) / file.name
    own = read_jsonl(file, skipped)
    others = [row for one in files if one != file for row in read_jsonl(one, [])]
    classes = frozenset(_class_names([*own, *others]))
    rows = of_split(own, split, file, skipped)
    read = [attempt(skipped, row.get("file_name"), _listed, row, file, classes) for row in rows]
    samples = [sample for sample in read if sample]
    require_corners([box for sample in samples for box in sample.xyxy], file)
    return without_shared_photos(samples, skipped)


def _class_names(rows: Iterable[object]) -> set[str]:
    """The class names in all rows, readable or not."""
    entries = [row.get("objects") for row in rows if isinstance(row, Mapping)]
    lists = [objects.get("category_name") for objects in entries if isinstance(objects, Mapping)]
    names = [name for names in lists if isinstance(names, list) for name in names]
    return {name for name in names if isinstance(name, str)}


def _listed(row: Mapping, file: Path, classes: frozenset[str]) -> Sample:
    require(("file_name", "objects"), row, file)
    if not isinstance(row["file_name"], str):
        raise ValueError(f"{file}: file_name must be a path in quotes, not {row['file_name']!r}")
    (photo,) = locate([row["file_name"]], [file.parent])
    sample = sample_of(row, str(photo), file)
    return replace(sample, file=str(file), classes=classes)


def read_parquet(path: Path, split: str) -> Dataset:
    """The rows of a split in one parquet file, or in a folder's files of that split."""
    files = _parquet_files(path, split)
    try:
        table = Dataset.from_parquet([str(file) for file in files])
    except (ValueError, DatasetGenerationError) as error:
        raise ValueError(f"{path} is no readable parquet: {error}") from error
    if table.features.get("image") == datasets.Value("string"):  # paths, here or of another machine
        roots = (files[0].parent, files[0].parent / "images", Path())
        paths = [*map(str, locate(table["image"][:], roots))]
        table = table.remove_columns("image").add_column("image", paths)
    if "split" not in table.column_names:
        return table
    names = [str(name) for name in table["split"]]
    chosen = choose(split, set(names), path)
    return table.select([at for at, name in enumerate(names) if name == chosen])


def _parquet_files(path: Path, split: str) -> list[Path]:
    """A folder's files whose name, or whose folder, is of the split; all where none is of any."""
    if path.is_file():
        return [path]
    files = {file: _split_of(file, path) for file in sorted(path.rglob("*.parquet"))}
    splits = {name for name in files.values() if name}
    if not splits:
        return list(files)
    if unnamed := [file for file, name in files.items() if not name]:
        raise ValueError(f"{unnamed[0]} names no split, but other files there do: move it away")
    chosen = choose(split, splits, path)
    return [file for file, name in files.items() if name == chosen]


def _split_of(file: Path, root: Path) -> str:
    """train-00000-of-00002.parquet, train.parquet, or train/0000.parquet as the hub converts."""
    if "-of-" in file.name:
        return file.name.split("-")[0]
    parts = [file.stem, *reversed(file.relative_to(root).parts[:-1])]
    return next((part for part in parts if part in SPLITS), "")


def declared_classes(source: Path) -> set[str]:
    """The class names in all rows of a parquet source, of all splits; none for a hub data set."""
    files = [source] if source.is_file() else [*source.rglob("*.parquet")]
    rows: list[dict] = []
    for file in files:
        try:
            rows += parquet.read_table(file, columns=["objects"]).to_pylist()
        except (ArrowInvalid, OSError):  # `read_parquet` names what is wrong with it
            continue
    return _class_names(rows)


def sample_of(row: Mapping, image: str | dict, source: str | Path) -> Sample:
    """A row of the Open Food Facts set: boxes [y_min, x_min, y_max, x_max] from 0 to 1."""
    if not image or not any(stored(image)):
        raise ValueError(f"{source} has no image: put its bytes or path there, or leave it out")
    name = str(row.get("image_id") or Path(stored(image)[1] or "photo").stem)
    boxes, labels = objects_of(row["objects"], f"{source}, {name}").values()
    named = len(boxes) == len(labels) and all(isinstance(label, str) for label in labels)
    if not named or not all(map(is_box, boxes)):
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


def require_corners(entries: Iterable[object], source: str | Path) -> None:
    """ValueError for boxes that are no corners, but fit their photos as x, y, width, height.

    As corners, half of such boxes end before they begin.
    """
    boxes = [box for box in entries if is_box(box)]
    swapped = sum(box[2] < box[0] or box[3] < box[1] for box in boxes)
    # Also those of a centre, width and height.
    fit = all(x + width / 2 <= 1 and y + height / 2 <= 1 for x, y, width, height in boxes)
    if fit and swapped > SWAPPED * len(boxes):
        raise ValueError(
            f"{source}: {swapped} of {len(boxes)} boxes end before they begin: write bbox as "
            "[y_min, x_min, y_max, x_max] from 0 to 1, not as x, y, width, height"
        )


def _meta(row: Mapping, where: str) -> Mapping:
    meta = row.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise ValueError(f'{where}: meta must be an object like {{"barcode": ...}}, not {meta!r}')
    return meta


def objects_of(entries: dict | None, source: str | Path) -> dict[str, list]:
    """The boxes and labels of a row, in this order; none where they or all `objects` are null."""
    columns = ("bbox", "category_name")
    objects: Mapping = dict.fromkeys(columns) if entries is None else entries
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
