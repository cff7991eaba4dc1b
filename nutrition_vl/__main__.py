"""Finds the nutrition tables on photos and prints one JSON line a photo.

examples:
  python -m nutrition_vl pack.jpg
  python -m nutrition_vl photos/ --draw boxed/ > boxes.jsonl
  python -m nutrition_vl photos/ --checkpoint runs/qlora --batch-size 16 --device cuda

output, boxes in pixels of the upright photo (x to the right, y down):
  {"photo": "pack.jpg", "width": 1200, "height": 1600,
   "boxes": [{"xyxy": [96.0, 700.8, 612.0, 1331.2], "label": "nutrition-table", "confidence": 0.9}],
   "text": "(the model's own words)", "seconds": 0.81}
A photo that cannot be read is a line with "photo" and "error"; the others still run.

exit codes: 0 all photos were read, 1 some were not, 2 nothing could be started
"""

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm import tqdm

from nutrition_vl.photos import FORMATS, open_photo

if TYPE_CHECKING:
    from nutrition_vl.detector import Answer, Detector


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args = parser().parse_args(argv)
    try:
        with _quiet():
            return _run(args)
    except BrokenPipeError:  # the reader, `head` perhaps, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    about, _, details = (__doc__ or "").partition("\n")
    options = argparse.ArgumentParser(
        prog="python -m nutrition_vl",
        description=about,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("photos", nargs="+", type=Path, metavar="PHOTO|FOLDER", help="folders are searched through")
    add("--checkpoint", default="demo", help="demo, a run, a checkpoint folder or a hub id")
    add("--adapter", metavar="NAME|none", help="another adapter than the checkpoint's, or none")
    add("--draw", type=Path, metavar="DIR", help="also save every photo with its boxes drawn")
    add("--batch-size", type=_positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    return options


def find_photos(places: Sequence[Path]) -> list[Path]:
    """Files as given, folders as the photos anywhere below, sorted; ValueError for one without."""
    endings = {end for end, name in Image.registered_extensions().items() if name in FORMATS}
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            found.append(place)
            continue
        inside = [
            path
            for path in sorted(place.rglob("[!.]*"))  # macOS writes ._pack.jpg beside pack.jpg
            if path.suffix.lower() in endings and path.is_file()
        ]
        if not inside:
            raise ValueError(f"there is no photo in {place}: give one of {', '.join(FORMATS)}")
        found += inside
    return found


def _run(args: argparse.Namespace) -> int:
    # Here and not above: they take seconds, which --help and a mistyped option need not wait for.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from nutrition_vl.detector import Detector

    disable_progress_bar()
    try:
        photos = find_photos(args.photos)
        if args.draw:
            args.draw.mkdir(parents=True, exist_ok=True)
        detector = Detector.load(args.checkpoint, adapter=args.adapter or True, device=args.device)
        return _answer_all(detector, photos, args.draw, args.batch_size)
    except BrokenPipeError:
        raise
    except torch.OutOfMemoryError:
        return _refuse(f"the GPU's memory is full: use a --batch-size below {args.batch_size}")
    except (OSError, ValueError) as error:
        return _refuse(str(error))


def _answer_all(
    detector: "Detector", photos: Sequence[Path], draw: Path | None, batch_size: int
) -> int:
    failed = False
    with tqdm(total=len(photos), unit="photo") as progress:
        for path, photo, answer in _answers(detector, photos, batch_size):
            line: dict[str, object] = {"photo": str(path)}
            if isinstance(photo, str) or isinstance(answer, str):
                failed = True
                line |= {"error": answer}
            else:
                line |= answer.record(photo.size)
                if draw:
                    _draw(photo, answer, draw, path.stem)
            tqdm.write(json.dumps(line))
            sys.stdout.flush()
            progress.update()
    return int(failed)


def _answers(
    detector: "Detector", paths: Sequence[Path], batch_size: int
) -> Iterator[tuple[Path, "Image.Image | str", "Answer | str"]]:
    """Path, photo and answer, in order; the reason in their place where there is none."""
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        photos = [_opened(path) for path in batch]
        said = iter(_look(detector, [photo for photo in photos if not isinstance(photo, str)]))
        for path, photo in zip(batch, photos, strict=True):
            yield path, photo, photo if isinstance(photo, str) else next(said)


def _opened(path: Path) -> Image.Image | str:
    try:
        return open_photo(path)
    except (OSError, ValueError) as error:
        return str(error)


def _look(detector: "Detector", photos: list[Image.Image]) -> list["Answer | str"]:
    """One answer a photo, or the reason for none; a photo that fails does not fail its batch."""
    try:
        return [*detector.detect(photos)]
    except ValueError as error:
        reason = str(error)
    if len(photos) == 1:
        return [reason]
    return [answer for photo in photos for answer in _look(detector, [photo])]


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


def _refuse(reason: str) -> int:
    print(f"nutrition_vl: {reason}", file=sys.stderr)
    return 2


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number from 1 up, not {text}")
    return int(text)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' remarks off the terminal; their errors still show."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    sys.exit(main())
