"""Reads COCO instances."""

from collections.abc import Mapping
from pathlib import Path

import supervision as sv

from nutrition_vl.data.rows import Sample, naming, require


def read_coco(file: Path, content: Mapping) -> list[Sample]:
    """COCO instances; the photos lie beside the file or in `images` beside it."""
    require(("images", "annotations", "categories"), content, file)
    with naming(file):
        names = [image["file_name"] for image in content["images"]]
        beside = not names or (file.parent / names[0]).exists()
        folder = file.parent if beside else file.parent / "images"
        return from_supervision(sv.DetectionDataset.from_coco(str(folder), str(file)))


def from_supervision(found: sv.DetectionDataset) -> list[Sample]:
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
