"""Sorts real photos without a table into those to train on and those held back, by their source.

`python -m training.demo_model.photos --out DIR FOLDER...` fills DIR/train and DIR/held with
smaller copies. Each folder has a SOURCES.tsv: file, repository (or none), path, licence.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from nutrition_vl.cli import command, described, folder, positive

HELD_BACK = Path(__file__).with_name("held_back.txt")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = described("training.demo_model.photos", __doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of JPEGs")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="for the copies")
    parser.add_argument("--size", type=positive, default=512, help="of the longer side at most")
    parser.add_argument("--quality", type=positive, default=85, help="of the JPEGs (default 85)")
    return parser


def sort(options: argparse.Namespace) -> None:
    """Copies every photo into `train` or `held`."""
    for part in ("train", "held"):
        (options.out / part).mkdir(parents=True, exist_ok=True)
    prefixes = held_back()
    for source in options.folders:
        for name, path in sources(source):
            part = "held" if path.startswith(prefixes) else "train"
            photo = Image.open(source / name).convert("RGB")
            photo.thumbnail((options.size, options.size))
            photo.save(options.out / part / f"{source.name}_{name}", quality=options.quality)


def held_back() -> tuple[str, ...]:
    """The folders held back, each as "repository/path/", without the repository's owner."""
    lines = HELD_BACK.read_text(encoding="utf-8").splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    return tuple(f"{repository.split('/')[1]}/{path}/" for repository, path in pairs)


def sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Each photo's file name and "repository/path"; OSError where SOURCES.tsv is missing."""
    with (folder / "SOURCES.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter="\t"):
            name, *where = row[:-1] if len(row) > 2 else row
            yield name, "/".join([where[0].split("/")[-1], *where[1:]] if len(where) > 1 else where)


main = command(parser, sort)

if __name__ == "__main__":
    sys.exit(main())
