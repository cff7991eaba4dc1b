"""Checks labelled photos without training: counts them, names mistakes, draws twelve.

examples:
  python -m nutrition_vl.data photos/
  python -m nutrition_vl.data instances_train.json --split train --out checked/
  python -m nutrition_vl.data set/data.yaml --label "nutrition facts"

Prints the lines of python -m training about its photos, and writes labels.jpg: twelve photos
with their boxes drawn.
exit codes: 0 all entries were read, 1 some were skipped, 2 something is wrong
"""

import argparse
import sys
from pathlib import Path

from nutrition_vl.cli import LABEL, command, described, folder


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl.data", __doc__)
    add = options.add_argument
    add("source", metavar="SOURCE", help="folder, file or hub id")
    add("--split", default="train", help="default train")
    add("--label", metavar="NAME", help=LABEL)
    add("--out", type=folder, default=Path("labels"), metavar="DIR", help="default labels")
    return options


def _run(args: argparse.Namespace) -> int:
    # Here and not above: it takes seconds, which --help need not wait for.
    from nutrition_vl.data.label_report import (
        SHEET,
        count,
        draw_contact_sheet,
        reasons,
        trained_words,
    )
    from nutrition_vl.data.load import load_split
    from nutrition_vl.data.rows import Skipped

    skipped: list[Skipped] = []
    rows = load_split(args.source, args.split, skipped=skipped, label=args.label)
    args.out.mkdir(parents=True, exist_ok=True)
    sheet = args.out / SHEET
    draw_contact_sheet(rows, sheet, f"{args.source}, split {args.split}", skipped)
    print(*count(rows), *reasons(skipped), *trained_words(rows), f"boxes drawn: {sheet}", sep="\n")
    return int(bool(skipped))


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
