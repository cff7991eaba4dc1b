"""The photos that the embedded adapter is trained on: rendered ones and real ones without a table.

`python -m training.demo_model.adapter_photos --out DIR --photos DIR` renders parts in parallel,
then writes DIR/metadata.jsonl over all of them. A second call renders only the missing parts.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from nutrition_vl.cli import command, described, folder, positive
from nutrition_vl.data.rows import read_jsonl
from nutrition_vl.files import write_jsonl

SEED = 3_000_000  # of the first part; parts are 10,000 apart, the base's faces end before
PART = (240, 60)  # photos of any pack, and more of packs without a table
NOTHING: dict[str, list] = {"bbox": [], "category_id": [], "category_name": []}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = described("training.demo_model.adapter_photos", __doc__)
    add = parser.add_argument
    add("--out", type=folder, required=True, metavar="DIR", help="where the data set goes")
    add("--photos", type=Path, required=True, metavar="DIR", help="real photos without a table")
    add("--parts", type=positive, default=28, help=f"of {sum(PART)} photos (default 28)")
    add("--workers", type=positive, default=2, help="parts at a time (default 2)")
    return parser


def collect(options: argparse.Namespace) -> None:
    """Renders the missing parts and writes the rows of all."""
    with ProcessPoolExecutor(options.workers) as executor:
        parts = [*executor.map(partial(_part, options), range(options.parts))]
    rows = [row for part in parts for row in _rows(part)] + [*_negatives(options)]
    write_jsonl(options.out / "metadata.jsonl", rows)


def _part(options: argparse.Namespace, number: int) -> Path:
    """One part's folder, rendered by the ordinary command."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: every core has its part
    from training.render.__main__ import main as render

    part = options.out / f"part_{number:02d}"
    if not (part / "metadata.jsonl").exists():
        shutil.rmtree(part, ignore_errors=True)
        seed, (count, plain) = SEED + 10_000 * number, PART
        settings = f"--count {count} --plain {plain} --size 560 --workers 1 --seed {seed}"
        command = [*settings.split(), "--out", str(part), "--backgrounds", str(options.photos)]
        if render(command):
            raise ValueError(f"{part} could not be rendered")
    return part


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    for row in read_jsonl(part / "metadata.jsonl"):
        yield row | {"file_name": f"{part.name}/{row['file_name']}",
                     "image_id": f"{part.name}_{row['image_id']}"}  # fmt: skip


def _negatives(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each real photo, which is copied next to the rendered ones."""
    (options.out / "real").mkdir(exist_ok=True)
    for file in sorted(options.photos.glob("*.jpg")):
        shutil.copy(file, options.out / "real" / file.name)
        with Image.open(file) as photo:
            width, height = photo.size
        yield {"file_name": f"real/{file.name}", "image_id": file.stem, "width": width,
               "height": height, "split": "train", "objects": NOTHING}  # fmt: skip


main = command(parser, collect)

if __name__ == "__main__":
    sys.exit(main())
