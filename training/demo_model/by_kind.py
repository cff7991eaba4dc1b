"""How a checkpoint does on rendered photos of each kind of table and of each look-alike.

`python -m training.demo_model.by_kind --backgrounds DIR` prints a line per kind: F1 at an IoU of
0.5 where there are tables, and the share of photos with a box where there are none. The last line
on stdout is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nutrition_vl.cli import command, described, positive

if TYPE_CHECKING:
    from PIL import Image

    from nutrition_vl.detector import Detector

SEED = 6_000_000  # far from every face that anything is trained on

TABLES = (
    "us", "us_old", "philippines", "canada", "tabular", "hundred_en", "multilingual", "bilingual",
    "hundred_two", "korean_box", "japanese_box", "china_box", "china_nrv_box", "taiwan_box",
    "hong_kong_box", "thai", "hundred_ar", "hundred_he", "gulf", "brazil_2022", "hundred_hi",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = described("training.demo_model.by_kind", __doc__)
    add = parser.add_argument
    add("--checkpoint", default="demo", help="demo or a checkpoint folder (default demo)")
    add("--adapter", default=True, metavar="NAME|none", help="another adapter, or none")
    add("--backgrounds", type=Path, metavar="DIR", help="JPEGs without tables to stand behind")
    add("--kinds", nargs="+", metavar="NAME", help="of these alone (default: all)")
    add("--count", type=positive, default=50, metavar="N", help="photos per kind (default 50)")
    add("--size", type=positive, default=640, help="pixels of the longer side (default 640)")
    add("--threshold", type=float, default=0.4, metavar="P", help="boxes from here (default 0.4)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto)")
    add("--workers", type=positive, default=2, help="processes that draw (default 2)")
    return parser


def _run(options: argparse.Namespace) -> None:
    from nutrition_vl.detector import Detector
    from training.render.negatives.kinds import KINDS

    detector = Detector.load(options.checkpoint, adapter=options.adapter, device=options.device)
    scores = {}
    for kind in options.kinds or (*TABLES, *KINDS):
        scores[kind] = {k: round(v, 4) for k, v in score(detector, kind, options).items()}
        print(kind, *(f"{k} {v:g}" for k, v in scores[kind].items()), flush=True)
    print(json.dumps(scores))


def score(detector: "Detector", kind: str, options: argparse.Namespace) -> dict[str, float]:
    """F1 over the photos of a kind, or the share of them with a box where there are no tables."""
    from nutrition_vl.matching import iou, is_right

    photos, truths = zip(*draw(kind, options), strict=True)
    stream = detector.stream(photos, threshold=options.threshold)
    boxes = [detection.unwrap().detections for detection in stream]
    true, predicted = sum(map(len, truths)), sum(map(len, boxes))
    if not true:
        return {"boxed": sum(map(bool, map(len, boxes))) / len(photos)}
    pairs = zip(truths, boxes, strict=True)
    right = sum(int(is_right(iou(t, b.xyxy), np.asarray(b.confidence)).sum()) for t, b in pairs)
    return {"f1": 2 * right / (true + predicted), "recall": right / true}


def draw(kind: str, options: argparse.Namespace) -> Iterator[tuple["Image.Image", np.ndarray]]:
    """Photos of a kind and their true boxes (N, 4) in pixels."""
    from PIL import Image

    from training.render.camera.pool import make_pool
    from training.render.camera.scenes import Camera
    from training.render.dataset import photo_size, pixels_of

    pool = make_pool(options.count, options.backgrounds, options.workers, SEED, kind)
    camera, rng = Camera(pool, "cpu", SEED, paired=0, held=1), np.random.default_rng(SEED)
    for _ in range(options.count):
        width, height = photo_size(rng, options.size)
        scene = camera.shoot(1, height, width)
        truth = scene.boxes[0].numpy() * [width, height, width, height]
        yield Image.fromarray(pixels_of(scene)[0]), truth[~np.isnan(truth).any(1)]


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
