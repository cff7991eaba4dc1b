"""Renders labelled photos of food packages in the data set's own schema.

examples:
  python -m training.render --count 1000 --out rendered
  python -m training.render --count 200 --out rendered --split val --seed 1000000
  python -m training.render --count 1000 --out rendered --backgrounds shop_photos

DIR/images holds the photos; DIR/metadata.jsonl their boxes, [y_min, x_min, y_max, x_max] in 0-1,
as in openfoodfacts/nutrition-table-detection. More may be added to the same folder with another
--split. The same options give the same photos.
"""

import argparse
import sys
from pathlib import Path

from nutrition_vl.cli import command, described, folder, positive, share


def _run(options: argparse.Namespace) -> None:
    # Here and not above: it takes seconds, which --help need not wait for.
    from training.render.dataset import render

    render(options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = described("training.render", __doc__)
    add = parser.add_argument
    add("--count", type=positive, required=True, metavar="N", help="photos to make")
    add("--out", type=folder, required=True, metavar="DIR", help="where they go")
    add("--split", default="train", help="what their rows say (default train)")
    add("--seed", type=int, default=0, help="of the first pack; others follow (default 0)")
    add("--size", type=positive, default=640, help="pixels of the longer side (default 640)")
    add("--backgrounds", type=Path, metavar="DIR", help="JPEGs without tables to stand behind")
    add("--plain", type=int, default=0, metavar="N", help="and N of packs without a table")
    add("--kind", metavar="NAME", help="one layout or negative alone, such as korean_box or menu")
    add("--pairs", type=share, metavar="P", help="0-1, of two packs (default 0.03)")
    add("--device", default="cpu", help="where photos are taken: cpu, cuda or auto (default cpu)")
    add("--workers", type=positive, default=2, help="processes that draw packs (default 2)")
    return parser


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
