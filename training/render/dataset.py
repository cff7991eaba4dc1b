"""Takes photos of packs that are drawn, and writes them down as a labelled data set."""

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from nutrition_vl.boxes import LABELS
from nutrition_vl.models.runtime import detect_runtime
from training.render.camera.pool import make_pool
from training.render.camera.scenes import ASPECTS, HELD, PAIRED, Camera, Scene
from training.render.layout.panels import LAYOUTS
from training.render.negatives.kinds import KINDS

SMALLEST = 64  # pixels; of less nobody can tell a table
BATCH = 4  # photos at a time; more take more memory and no less time


def render(options: argparse.Namespace) -> None:
    """Draws and photographs packs; refuses a split that is there already."""
    pairs = PAIRED if options.pairs is None else options.pairs
    if options.plain < 0:
        raise ValueError(f"--plain must be at least 0, not {options.plain}")
    if Path(options.split).name != options.split:
        raise ValueError(f"--split {options.split} cannot begin a file's name: leave out the /")
    if options.size < SMALLEST:
        raise ValueError(f"--size must be at least {SMALLEST}, not {options.size}: nothing is seen")
    device = str(detect_runtime(options.device).device)
    rows_file = options.out / "metadata.jsonl"
    if rows_file.exists() and f'"split": "{options.split}"' in rows_file.read_text("utf-8"):
        raise ValueError(f"{rows_file} has a split {options.split!r} already: name another --out")
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    if options.kind and options.kind not in (*LAYOUTS, *KINDS):
        raise ValueError(
            f"there is no kind {options.kind}: use one of {', '.join((*LAYOUTS, *KINDS))}"
        )
    seed, kind = options.seed, options.kind
    pool = make_pool(options.count, options.backgrounds, options.workers, seed, kind)
    camera = Camera(pool, device, seed, pairs, held=1.0 if kind else HELD)
    films = [shoot(camera, options.count, options)]
    if options.plain:
        if not len(pool.plain):
            raise ValueError("every pack drawn has a table: draw more of them, with --count")
        plain = Camera(pool.only(pool.plain), device, seed + 1)
        films.append(shoot(plain, options.plain, options))
    total = options.count + options.plain
    lines = [*tqdm(develop(chain(*films), options), total=total, unit="photo")]
    with rows_file.open("a", encoding="utf-8") as rows:
        rows.writelines(lines)  # all at once: a split that was cut off can be drawn again


def develop(photos: Iterable[tuple[np.ndarray, Any]], options: argparse.Namespace) -> Iterator[str]:
    """Saves each photo, and yields its row as a line."""
    for number, (photo, tables) in enumerate(photos):
        name = f"{options.split}_{number:06d}"
        Image.fromarray(photo).save(options.out / "images" / f"{name}.jpg", quality=88)
        height, width = photo.shape[:2]
        row = {"file_name": f"images/{name}.jpg", "image_id": name}
        row |= {"width": width, "height": height, "split": options.split, "objects": tables}
        yield json.dumps(row) + "\n"


def shoot(
    camera: Camera, count: int, options: argparse.Namespace
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields photos (height, width, 3) uint8 with their `objects` of the schema."""
    rng = np.random.default_rng(options.seed)
    for start in range(0, count, BATCH):
        width, height = photo_size(rng, options.size)
        scene = camera.shoot(min(BATCH, count - start), height, width)
        yield from zip(pixels_of(scene), objects(scene), strict=True)


def photo_size(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Width and height of a photo of one of ASPECTS, whose longer side is `size`."""
    aspect = rng.choice(list(ASPECTS), p=list(ASPECTS.values()))
    return round(size * min(1, aspect)), round(size * min(1, 1 / aspect))


def pixels_of(scene: Scene) -> np.ndarray:
    """The photos of a scene (B, height, width, 3) uint8."""
    return (scene.pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()


def objects(scene: Scene) -> Iterator[dict[str, list]]:
    """The truth of each photo as the data set spells it: y before x, shares of the sides."""
    for boxes, labels in zip(scene.boxes, scene.labels, strict=True):
        visible = ~boxes.isnan().any(-1)
        ids = labels[visible].tolist()
        yield {
            "bbox": boxes[visible][:, [1, 0, 3, 2]].tolist(),
            "category_id": ids,
            "category_name": [LABELS[index] for index in ids],
        }
