"""Finds tables by OCR: the box around lines about nutrition, as predictions to compare with.

examples:
  python -m eval.ocr --data photos/ --split val --out ocr.jsonl
  python -m eval --predictions ocr.jsonl --data photos/ --split val

The alternative without a GPU: RapidOCR reads the photo, lines with words or amounts of a nutrition
table that lie close together make a table, and its box is the hull of the lines.
Needs `pip install rapidocr onnxruntime`; the models come with them.
Only missing photos are read: stop and start at will. exit codes: 0 all photos are read, 2 something
is wrong
"""

import argparse
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from nutrition_vl.cli import LABEL, command, described, file

if TYPE_CHECKING:
    from PIL import Image

# Words begin so, without accents: English, French, German, Spanish, Italian, Portuguese, Dutch.
WORDS = """
nutrition nutricion nutritive nahrwert voedings valori energ calor kcal kj brennwert fat matieres
grasses fett vet grassi grasas gordura lipid saturat satur sature gesattigt verzadigd trans
cholest colest sodium sodio sal salt salz zout sel sale carb glucid kohlenhydrat koolhydrat hidrato
sugar sucre zucker suiker zuccher azucar acucar fiber fibre fibra ballaststoff vezel protein
proteine eiweiss eiwit vitamin calcium iron potassium serving portion daily
""".split()
WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})")
AMOUNT = re.compile(r"\d\s*(?:g|mg|mcg|ug|kcal|kj|cal|oz)\b|%|^\W*\d+(?:[.,]\d+)?\W*$", re.I)
MIN_WORDS = 5  # different ones in a table: the European table has seven, from energy to salt
MAX_GAP = 1.75  # line heights between lines of one table


@dataclass(frozen=True)
class Line:
    """A line of text in its upright box, in pixels."""

    xyxy: tuple[float, ...]
    text: str


Reader = Callable[["Image.Image"], list[Line]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("eval.ocr", __doc__)
    add = options.add_argument
    add("--data", required=True, metavar="SOURCE", help="folder, file or hub id")
    add("--split", default="val", help="default val")
    add("--label", metavar="NAME", help=LABEL)
    add("--out", type=file, default=Path("ocr.jsonl"), metavar="FILE", help="default ocr.jsonl")
    return options


def tables(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The tables among the lines of a photo, as boxes of a predictions file.

    Confidence grows with the words: 1 - MIN_WORDS / 2 / (number of different words).
    """
    pairs = [(line, _words(line.text)) for line in lines]
    pairs = [(line, words) for line, words in pairs if words or AMOUNT.search(line.text)]
    if not pairs:
        return []
    corners = np.array([line.xyxy for line, _ in pairs])
    groups, member = connected_components(_are_close(corners), directed=False)
    boxes = []
    for group in range(groups):
        words = set().union(*(pairs[i][1] for i in np.flatnonzero(member == group)))
        if len(words) >= MIN_WORDS:
            box = corners[member == group]
            hull = [*box[:, :2].min(0).tolist(), *box[:, 2:].max(0).tolist()]
            boxes.append({"xyxy": hull, "confidence": round(1 - MIN_WORDS / 2 / len(words), 4)})
    return boxes


def _are_close(corners: np.ndarray) -> np.ndarray:
    """A mask (n, n) of boxes at most MAX_GAP heights of the higher line apart."""
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    heights = (corners[:, 2:] - corners[:, :2]).min(1)  # of lines that run up or down too
    return (low - high).max(-1) < MAX_GAP * np.maximum(heights[:, None], heights)


def _words(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return set(WORD.findall(plain))


def _run(args: argparse.Namespace) -> None:
    from eval.sweep.resume import PHOTO_HASH, missing_rows, with_photo_hash
    from nutrition_vl.data import load_split
    from nutrition_vl.data.rows import Skipped, warn_skipped
    from nutrition_vl.running.resume import as_line, locked

    if args.out.suffix != ".jsonl":  # it may be a file of labels
        raise ValueError(f"{args.out} does not end in .jsonl, as eval --predictions needs it")
    reader, skipped = _reader(), list[Skipped]()
    split = load_split(args.data, args.split, skipped=skipped, label=args.label)
    warn_skipped(args.data, skipped, "read")
    rows = with_photo_hash(split)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with locked(args.out) as out:
        missing = missing_rows(rows, args.out)
        progress = tqdm(missing, total=len(rows), initial=len(rows) - len(missing), unit="photo")
        for index in progress:
            row = rows[index]
            named = {"id": row["id"], PHOTO_HASH: row[PHOTO_HASH]}
            out.write(as_line(named | _record(reader, row["image"])))
            out.flush()
    print(f"{len(rows)} photos are in {args.out}")


def _record(reader: Reader, photo: "Image.Image") -> dict[str, Any]:
    """A line of a predictions file, as `nutrition_vl.answer.Answer.record` has it."""
    start = time.perf_counter()
    lines = reader(photo)
    text = "\n".join(line.text for line in lines)
    record = {"boxes": tables(lines), "text": text, "malformed": 0}
    seconds = round(time.perf_counter() - start, 3)
    return {"width": photo.width, "height": photo.height} | record | {"seconds": seconds}


def _reader() -> Reader:
    """RapidOCR; ValueError where it is not installed."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise ValueError(
            "reading needs two packages more: pip install rapidocr onnxruntime"
        ) from error
    engine = RapidOCR()

    def read(photo: "Image.Image") -> list[Line]:
        result = engine(np.asarray(photo)[:, :, ::-1])  # it expects blue first
        if result.boxes is None:
            return []
        corners = np.concatenate([result.boxes.min(1), result.boxes.max(1)], axis=1).tolist()
        return [Line(tuple(box), text) for box, text in zip(corners, result.txts, strict=True)]

    return read


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
