"""Rebuilds the embedded base checkpoint from nothing: `python -m training.demo_model --out DIR`.

A GPU job of minutes. Faces are rendered into a pool, photos are composed from it on the GPU, the
small Qwen2-VL is trained at low resolution first, then at the demo's own. Stopped and started
again with the same `--out`, it goes on from the last saved state; with `--start` it trains a
finished checkpoint further. The adapter on top comes from the ordinary `python -m training`.
"""

import argparse
import math
import sys
from pathlib import Path

from nutrition_vl.cli import command, described, share


def _run(options: argparse.Namespace) -> None:
    # Here and not above: it takes seconds, which --help need not wait for.
    from training.demo_model.build import build

    build(options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = described("training.demo_model", __doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="the checkpoint, its state and its log")
    add("--start", type=Path, metavar="DIR", help="train this one further, without the first stage")
    add("--backgrounds", type=Path, required=True, help="folder of JPEGs without tables")
    add("--faces", type=int, default=20_000, help="in the pool (default 20000)")
    add("--rate", type=float, default=1e-3, help="peak learning rate (default 0.001)")
    add("--crops", type=share, default=0.2, help="of the photos, for a second look (default 0.2)")
    add("--minutes", type=float, default=17, help="of training in all (default 17)")
    add("--pause", type=float, default=math.inf, help="save and stop after so many minutes")
    add("--pool", type=Path, metavar="DIR", help="where the faces are kept (default OUT/pool)")
    add("--workers", type=int, default=2, help="processes that draw faces (default 2)")
    add("--device", choices=("cuda", "cpu"), help="default cuda where there is a GPU")
    return parser


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
