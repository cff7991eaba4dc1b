"""Finds the nutrition tables on photos and prints one JSON line per photo.

examples:
  python -m nutrition_vl pack.jpg
  python -m nutrition_vl photos/ --draw boxed/ > boxes.jsonl
  python -m nutrition_vl photos/ --out answers.jsonl     # run it again, and it goes on
  accelerate launch -m nutrition_vl photos/ --out answers.jsonl     # on all GPUs
  python -m nutrition_vl photos/ --checkpoint runs/qlora --batch-size 16 --device cuda

output, boxes in pixels of the upright photo (x to the right, y down):
  {"photo": "pack.jpg", "width": 1200, "height": 1600,
   "boxes": [{"xyxy": [96.0, 700.8, 612.0, 1331.2], "label": "nutrition-table", "confidence": 0.9}],
   "text": "(the model's own words)", "seconds": 0.81, "overruled": 0}
Decoding is constrained to valid box syntax, so every answer parses. "overruled" counts the tokens
that the constraint changed; --free turns it off. A photo that cannot be read is a line with "photo"
and "error"; the others still run. With --out, photos that have a line in the file are skipped, and
a file of another checkpoint, adapter or threshold is refused.

exit codes: 0 all photos were read, 1 some were not, 2 it could not start or not go on, as stderr
says
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from tqdm import tqdm

from nutrition_vl.cli import command, described, file, folder, place, positive, share
from nutrition_vl.data.photos import find_photos
from nutrition_vl.running.quick_imports import quick_imports, run

if TYPE_CHECKING:
    from nutrition_vl.answer import Answer
    from nutrition_vl.running.processes import Processes

Line = dict[str, Any]
SETTINGS = ("quantization", "threshold", "free", "second_look")  # that change the answers


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl", __doc__)
    add = options.add_argument
    add(
        "photos", nargs="+", type=place, metavar="PHOTO|FOLDER", help="folders are searched through"
    )
    add("--checkpoint", default="demo", help="demo, a run, a checkpoint folder or a hub id")
    add("--adapter", metavar="NAME|none", help="another adapter than the checkpoint's, or none")
    add("--out", type=file, metavar="FILE", help="write the lines there, and go on if it is there")
    add("--draw", type=folder, metavar="DIR", help="also save every photo with its boxes drawn")
    add("--batch-size", type=positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--threshold", type=share, metavar="P", help="minimum confidence of boxes (default 0.4)")
    add("--quantization", metavar="Q", help="nf4, nf4-single, int8 or none (default: as trained)")
    add("--decoder", default="fast", help="fast, or generate: plain transformers, the same boxes")
    add("--attention", default="math", help="math, or sdpa: fused kernels, faster on a GPU")
    add(
        "--second-look",
        action=argparse.BooleanOptionalAction,
        help="detect boxes in doubt again on an enlarged crop (default: as the card says)",
    )
    add("--free", action="store_true", help="turn off constrained decoding")
    return options


def _run(args: argparse.Namespace) -> int:
    if sys.stdout is None and not args.out:  # python -m nutrition_vl ... >&-
        raise ValueError("stdout is closed, and answers would be lost: give them a file or a pipe")
    # Here and not above: they take seconds, which --help and a mistyped option need not wait for.
    with quick_imports():
        import torch
        from transformers.utils.logging import disable_progress_bar

        import nutrition_vl.detector  # noqa: F401 (the libraries that _detect needs)
        from nutrition_vl.models.names import THRESHOLD
        from nutrition_vl.running.processes import Processes

    disable_progress_bar()
    photos, processes = find_photos(args.photos), Processes(args.device)
    args.threshold = THRESHOLD if args.threshold is None else args.threshold
    if args.draw:
        args.draw.mkdir(parents=True, exist_ok=True)
    if processes.count > 1 and not args.out:
        raise ValueError("several processes need a file to write to: add --out FILE")
    try:
        return (_to_file if args.out else _to_stdout)(args, photos, processes)
    except torch.OutOfMemoryError as error:
        small = "the GPU's memory is too small for one photo: use --device cpu"
        raise ValueError(small) from error


def _to_stdout(args: argparse.Namespace, photos: Sequence[Path], processes: "Processes") -> int:
    """Prints a line per photo; exit code 1 if any could not be read."""
    counts: Counter[str] = Counter()

    def write(line: Line) -> None:
        counts["unread"] += "error" in line
        counts["changed"] += line.get("overruled", 0) > 0
        tqdm.write(json.dumps(line))
        sys.stdout.flush()

    _detect(args, photos, write)
    if counts["changed"]:
        print(f"the grammar changed {counts['changed']} of {len(photos)} answers", file=sys.stderr)
    return int(counts["unread"] > 0)


def _to_file(args: argparse.Namespace, photos: Sequence[Path], processes: "Processes") -> int:
    """Appends a line per photo without one; exit code 1 if any photo could not be read."""
    from nutrition_vl.running.answers_file import AnswersFile, provenance

    settings = {name: getattr(args, name) for name in SETTINGS}
    model = provenance(args.checkpoint, args.adapter)
    answers = AnswersFile(args.out, model | settings)
    with answers.only_command() if processes.is_main else nullcontext():
        missing = answers.missing(photos)
        if processes.is_main:
            answers.begin()
        processes.wait()  # no line is written before all processes have counted them
        own = [photo for batch in processes.share(missing, args.batch_size) for photo in batch]
        done = len(set(photos)) - len(missing)
        _detect(args, own, answers.append, initial=done, disable=not processes.is_main)
        processes.wait()
    if not processes.is_main:
        return 0
    words, unread = answers.summary(photos)
    print(f"{words}; {done} were there before", file=sys.stderr)
    return int(unread > 0)


def _detect(
    args: argparse.Namespace,
    photos: Sequence[Path],
    write: Callable[[Line], None],
    initial: int = 0,
    disable: bool = False,
) -> None:
    """Writes a line per photo as soon as it is answered, with a progress bar on stderr."""
    if not photos:
        return
    from nutrition_vl.detector import Detector

    detector = Detector.load(
        args.checkpoint,
        adapter=args.adapter or True,
        device=args.device,
        quantization=args.quantization,
        decoder=args.decoder,
        attention=args.attention,
        second_look=args.second_look,
    )
    detections = detector.stream(
        photos, batch_size=args.batch_size, threshold=args.threshold, free=args.free
    )
    progress = tqdm(
        photos, initial=initial, total=initial + len(photos), unit="photo", disable=disable
    )
    for path, one in zip(progress, detections, strict=True):
        line: Line = {"photo": str(path)}
        if one.answer is None or one.photo is None:
            line |= {"error": str(one.error)}
        else:
            line |= one.answer.record(one.photo.size)
            if args.draw and (picture := one.picture):
                _draw(picture, one.answer, args.draw, path.stem)
        write(line)


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


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(run(main))
