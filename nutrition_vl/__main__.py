"""Finds the nutrition tables on photos and prints one JSON line a photo.

examples:
  python -m nutrition_vl pack.jpg
  python -m nutrition_vl photos/ --draw boxed/ > boxes.jsonl
  python -m nutrition_vl photos/ --checkpoint runs/qlora --batch-size 16 --device cuda

output, boxes in pixels of the upright photo (x to the right, y down):
  {"photo": "pack.jpg", "width": 1200, "height": 1600,
   "boxes": [{"xyxy": [96.0, 700.8, 612.0, 1331.2], "label": "nutrition-table", "confidence": 0.9}],
   "text": "(the model's own words)", "seconds": 0.81, "overruled": 0}
An answer keeps to a grammar and so can always be read; "overruled" counts the tokens that the model
by itself would have said otherwise. A photo that cannot be read is a line with "photo" and "error";
the others still run.

exit codes: 0 all photos were read, 1 some were not, 2 it could not start or not go on, as stderr
says
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm import tqdm

from nutrition_vl.cli import described, folder, guarded, positive, share
from nutrition_vl.data.photos import find_photos

if TYPE_CHECKING:
    from nutrition_vl.answer import Answer, Detection


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args = parser().parse_args(argv)
    return guarded("nutrition_vl", lambda: _run(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl", __doc__)
    add = options.add_argument
    add("photos", nargs="+", type=Path, metavar="PHOTO|FOLDER", help="folders are searched through")
    add("--checkpoint", default="demo", help="demo, a run, a checkpoint folder or a hub id")
    add("--adapter", metavar="NAME|none", help="another adapter than the checkpoint's, or none")
    add("--draw", type=folder, metavar="DIR", help="also save every photo with its boxes drawn")
    add("--batch-size", type=positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--threshold", type=share, metavar="P", help="leave out boxes less sure (default 0.4)")
    add("--quantization", metavar="Q", help="nf4, nf4-single, int8 or none (default: as trained)")
    add("--decoder", default="fast", help="fast, or generate: plain transformers, the same boxes")
    add("--free", action="store_true", help="let the model say anything, without the grammar")
    return options


def _run(args: argparse.Namespace) -> int:
    if sys.stdout is None:  # python -m nutrition_vl ... >&-
        raise ValueError("stdout is closed, and answers would be lost: give them a file or a pipe")
    # Here and not above: they take seconds, which --help and a mistyped option need not wait for.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from nutrition_vl.detector import THRESHOLD, Detector

    disable_progress_bar()
    photos = find_photos(args.photos)
    if args.draw:
        args.draw.mkdir(parents=True, exist_ok=True)
    try:
        detector = Detector.load(
            args.checkpoint,
            adapter=args.adapter or True,
            device=args.device,
            quantization=args.quantization,
            decoder=args.decoder,
        )
        detections = detector.stream(
            photos,
            batch_size=args.batch_size,
            threshold=THRESHOLD if args.threshold is None else args.threshold,
            free=args.free,
        )
        return _print(photos, detections, args.draw)
    except torch.OutOfMemoryError as error:
        small = "the GPU's memory is too small for one photo: use --device cpu"
        raise ValueError(small) from error


def _print(paths: Sequence[Path], detections: Iterator["Detection"], draw: Path | None) -> int:
    """Prints one line per photo as soon as it is answered; returns the exit code."""
    failed = changed = 0
    for path, one in zip(tqdm(paths, unit="photo"), detections, strict=True):
        line: dict[str, object] = {"photo": str(path)}
        if one.answer is None or one.photo is None:
            failed += 1
            line |= {"error": str(one.error)}
        else:
            changed += one.answer.overruled > 0
            line |= one.answer.record(one.photo.size)
            if draw:
                _draw(one.photo, one.answer, draw, path.stem)
        tqdm.write(json.dumps(line))
        sys.stdout.flush()
    if changed:
        print(f"the grammar changed {changed} of {len(paths)} answers", file=sys.stderr)
    return int(failed > 0)


def _draw(photo: Image.Image, answer: "Answer", folder: Path, name: str) -> None:
    """Saves the photo with its boxes as `name`.jpg, or `name`-2.jpg and so on if that is taken."""
    from nutrition_vl.draw import annotate

    drawn = annotate(photo, answer.detections)
    for number in count(1):
        path = folder / (f"{name}.jpg" if number == 1 else f"{name}-{number}.jpg")
        try:
            with path.open("xb") as file:
                return drawn.save(file, "JPEG", quality=90)
        except FileExistsError:
            continue


if __name__ == "__main__":
    sys.exit(main())
