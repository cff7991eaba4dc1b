"""What reading finds: the box around lines that speak of nutrition, as predictions to compare with.

examples:
  python -m eval.ocr --data photos/ --split val --out ocr.jsonl
  python -m eval --predictions ocr.jsonl --data photos/ --split val

This is what a user without a GPU would do instead: RapidOCR reads the photo, lines with words or
amounts of a nutrition table that lie close together make a table, its box is the hull of the lines.
Needs `pip install rapidocr onnxruntime`; the models come with them.
What is written stays, only gaps are filled. exit codes: 0 all photos are read, 2 something is wrong
"""

import argparse
import json
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

from nutrition_vl.cli import described, file, guarded

if TYPE_CHECKING:
    from PIL import Image

# How words begin, without accents: English, French, German, Spanish, Italian, Portuguese, Dutch.
WORDS = """
nutrition nutricion nutritive nahrwert voedings valori energ calor kcal kj brennwert fat matieres
grasses fett vet grassi grasas gordura lipid saturat satur sature gesattigt verzadigd trans
cholest colest sodium sodio sal salt salz zout sel sale carb glucid kohlenhydrat koolhydrat hidrato
sugar sucre zucker suiker zuccher azucar acucar fiber fibre fibra ballaststoff vezel protein
proteine eiweiss eiwit vitamin calcium iron potassium serving portion daily
""".split()
WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})")
AMOUNT = re.compile(r"\d\s*(?:g|mg|mcg|ug|kcal|kj|cal|oz)\b|%|^\W*\d+(?:[.,]\d+)?\W*$", re.I)
LEAST = 5  # different words that make a table: the European one has seven, from energy to salt
REACH = 1.75  # line heights between lines of one table


@dataclass(frozen=True)
class Line:
    """A line of text: upright box in pixels and what it says."""

    xyxy: tuple[float, ...]
    text: str


Reader = Callable[["Image.Image"], list[Line]]


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args = parser().parse_args(argv)
    return guarded("eval.ocr", lambda: _run(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("eval.ocr", __doc__)
    add = options.add_argument
    add("--data", required=True, metavar="SOURCE", help="folder, file or hub id")
    add("--split", default="val", help="default val")
    add("--out", type=file, default=Path("ocr.jsonl"), metavar="FILE", help="default ocr.jsonl")
    return options


def tables(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The tables among the lines of a photo, as boxes of a predictions file.

    A table is as sure as its words are many: 1 - LEAST / 2 / (number of different words).
    """
    said = [(line, _words(line.text)) for line in lines]
    said = [(line, words) for line, words in said if words or AMOUNT.search(line.text)]
    if not said:
        return []
    corners = np.array([line.xyxy for line, _ in said])
    groups, member = connected_components(_close(corners), directed=False)
    found = []
    for group in range(groups):
        words = set().union(*(said[i][1] for i in np.flatnonzero(member == group)))
        if len(words) >= LEAST:
            box = corners[member == group]
            hull = [*box[:, :2].min(0).tolist(), *box[:, 2:].max(0).tolist()]
            found.append({"xyxy": hull, "confidence": round(1 - LEAST / 2 / len(words), 4)})
    return found


def _close(corners: np.ndarray) -> np.ndarray:
    """Which boxes lie within REACH heights of the higher line from each other, (n, n)."""
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    heights = (corners[:, 2:] - corners[:, :2]).min(1)  # whichever way the line runs
    return (low - high).max(-1) < REACH * np.maximum(heights[:, None], heights)


def _words(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return set(WORD.findall(plain))


def _run(args: argparse.Namespace) -> int:
    from eval.sweep.locks import hold
    from eval.sweep.resume import STAMP, gaps, stamped
    from nutrition_vl.data import load_split

    read, rows = _reader(), stamped(load_split(args.data, args.split))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a", encoding="utf-8") as out:
        hold(out, args.out)
        todo = gaps(rows, args.out)
        for index in tqdm(todo, total=len(rows), initial=len(rows) - len(todo), unit="photo"):
            row = rows[index]
            named = {"id": row["id"], STAMP: row[STAMP]}
            out.write(json.dumps(named | _answer(read, row["image"])) + "\n")
            out.flush()
    print(f"{len(rows)} photos are in {args.out}")
    return 0


def _answer(read: Reader, photo: "Image.Image") -> dict[str, Any]:
    """A line of a predictions file, as `nutrition_vl.detector.Answer.record` has it."""
    start = time.perf_counter()
    lines = read(photo)
    said = {"boxes": tables(lines), "text": "\n".join(line.text for line in lines), "malformed": 0}
    seconds = round(time.perf_counter() - start, 3)
    return {"width": photo.width, "height": photo.height} | said | {"seconds": seconds}


def _reader() -> Reader:
    """RapidOCR; ValueError says how to install it."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise ValueError(
            "reading needs two packages more: pip install rapidocr onnxruntime"
        ) from error
    engine = RapidOCR()

    def read(photo: "Image.Image") -> list[Line]:
        found = engine(np.asarray(photo)[:, :, ::-1])  # it expects blue first
        if found.boxes is None:
            return []
        corners = np.concatenate([found.boxes.min(1), found.boxes.max(1)], axis=1).tolist()
        return [Line(tuple(box), text) for box, text in zip(corners, found.txts, strict=True)]

    return read


if __name__ == "__main__":
    sys.exit(main())
