"""Reads YOLO data sets: data.yaml, photos and label files."""

from pathlib import Path

import supervision as sv
import yaml

from nutrition_vl.data.formats.coco import from_supervision
from nutrition_vl.data.rows import Sample, choose, naming, read_text, require


def read_yolo(folder: Path, split: str) -> list[Sample]:
    """YOLO: data.yaml names each split's folder of photos; labels lie in `labels` for `images`."""
    file = folder / "data.yaml"
    try:
        config = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    require(("names",), config, file)
    splits = [name for name in ("train", "val", "test") if config.get(name)]
    named = str(config[choose(split, splits, file)]) if splits else "images"
    images = _yolo_images(folder, config.get("path") or ".", named)
    labels = "labels".join(str(images).rsplit("images", 1))
    with naming(file):
        return from_supervision(sv.DetectionDataset.from_yolo(str(images), labels, str(file)))


def _yolo_images(folder: Path, root: str, named: str) -> Path:
    # Roboflow's exports say ../train/images of the folder train/images beside data.yaml.
    for candidate in (folder / root / named, folder / named, folder / named.removeprefix("../")):
        if candidate.is_dir():
            return candidate.resolve()
    raise FileNotFoundError(f"data.yaml of {folder} names {named}, and there is no such folder")
