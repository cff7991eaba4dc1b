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
from typing import TYPE_CHECKING, Any

import numpy as np

from nutrition_vl.cli import described, guarded, positive

if TYPE_CHECKING:
    from PIL import Image

    from nutrition_vl.detector import Detector

SEED = 6_000_000  # far from every face that anything is trained on
IOU = 0.5
TABLES = (
    "us", "us_old", "philippines", "canada", "tabular", "hundred_en", "multilingual", "bilingual",
    "hundred_two", "korean_box", "japanese_box", "china_box", "china_nrv_box", "taiwan_box",
    "hong_kong_box", "thai", "hundred_ar", "hundred_he", "gulf", "brazil_2022", "hundred_hi",
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parser().parse_args(argv)
    return guarded("training.demo_model.by_kind", lambda: _run(options))


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


def _run(options: argparse.Namespace) -> int:
    from nutrition_vl.detector import Detector
    from training.render.negatives.kinds import KINDS

    detector = Detector.load(options.checkpoint, adapter=options.adapter, device=options.device)
    scores = {}
    for kind in options.kinds or (*TABLES, *KINDS):
        scores[kind] = {k: round(v, 4) for k, v in score(detector, kind, options).items()}
        print(kind, *(f"{k} {v:g}" for k, v in scores[kind].items()), flush=True)
    print(json.dumps(scores))
    return 0


def score(detector: "Detector", kind: str, options: argparse.Namespace) -> dict[str, float]:
    """F1 over the photos of a kind, or the share of them with a box where there are no tables."""
    true = boxes = right = boxed = 0
    photos, truths = zip(*draw(kind, options), strict=True)
    for start in range(0, len(photos), 8):
        for number, answer in enumerate(detector.detect(photos[start : start + 8])):
            found = answer.above(options.threshold).detections.xyxy
            truth = truths[start + number]
            true, boxes, boxed = true + len(truth), boxes + len(found), boxed + bool(len(found))
            right += matches(truth, found)
    if not true:
        return {"boxed": boxed / len(photos)}
    return {"f1": 2 * right / (true + boxes), "recall": right / true}


def draw(kind: str, options: argparse.Namespace) -> Iterator[tuple["Image.Image", np.ndarray]]:
    """Photos of a kind and their true boxes (N, 4) in pixels."""
    from PIL import Image

    from training.render.camera.pool import make_pool
    from training.render.camera.scenes import ASPECTS, Camera

    pool = make_pool(options.count, options.backgrounds, options.workers, SEED, kind)
    camera, rng = Camera(pool, "cpu", SEED, paired=0, held=1), np.random.default_rng(SEED)
    for _ in range(options.count):
        aspect = rng.choice(list(ASPECTS), p=list(ASPECTS.values()))
        size = options.size
        width, height = round(size * min(1, aspect)), round(size * min(1, 1 / aspect))
        scene = camera.shoot(1, height, width)
        pixels = (scene.pixels[0].permute(1, 2, 0) * 255).round().byte().numpy()
        truth = scene.boxes[0].numpy() * [width, height, width, height]
        yield Image.fromarray(pixels), truth[~np.isnan(truth).any(1)]


def matches(truth: np.ndarray, found: Any) -> int:
    """How many true boxes have a box of their own at an IoU of IOU; the best pairs first."""
    if not len(truth) or not len(found):
        return 0
    low = np.maximum(truth[:, None, :2], found[None, :, :2])
    high = np.minimum(truth[:, None, 2:], found[None, :, 2:])
    inner = (high - low).clip(0).prod(-1)
    area = lambda boxes: (boxes[:, 2:] - boxes[:, :2]).prod(-1)  # noqa: E731
    iou = inner / (area(truth)[:, None] + area(found)[None] - inner)
    count = 0
    while iou.max() >= IOU:
        row, column = np.unravel_index(iou.argmax(), iou.shape)
        iou[row], iou[:, column], count = 0, 0, count + 1
    return count


if __name__ == "__main__":
    sys.exit(main())
