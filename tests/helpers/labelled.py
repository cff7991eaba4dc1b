"""Small labelled data sets on disk, in the data set's own schema."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def label(folder: Path, boxes: list[list[tuple[float, ...]]], size=(112, 84)) -> Path:
    """A folder with one photo for each list of boxes (x0, y0, x1, y1 from 0 to 1)."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, found in enumerate(boxes):
        name = f"images/pack{number}.jpg"
        paint(size, found, seed=number).save(folder / name)
        objects = {
            "bbox": [[y0, x0, y1, x1] for x0, y0, x1, y1 in found],
            "category_name": ["nutrition-table"] * len(found),
        }
        lines.append(json.dumps({"file_name": name, "objects": objects}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


def paint(size, boxes, seed):
    """A photo of noise with a white panel in each box."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)
    photo = Image.fromarray(noise)
    for x0, y0, x1, y1 in boxes:
        panel = (x0 * width, y0 * height, x1 * width, y1 * height)
        ImageDraw.Draw(photo).rectangle(panel, fill="white", outline="black")
    return photo
