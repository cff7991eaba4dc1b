"""Looks for wrong labels and for photos in two splits, and proposes corrections.

examples:
  python -m eval.audit --data photos/ --split train val
  python -m eval.audit --data photos/ --checkpoint runs/exp1a          # finds turned photos too
  python -m eval.audit --data photos/ --predictions exp1a_samples.csv

Writes report.md, report.html and corrections.jsonl (one JSON line per photo), and never touches the
data. Read it, delete the lines you do not agree with, and give it to python -m training and
python -m eval as --corrections.
Of a photo that is in two splits the one in the split named first is left out.
The last line on stdout is one JSON object. exit codes: 0 audited, 2 something is wrong
"""

import argparse
import json
import sys
from pathlib import Path

from nutrition_vl.cli import LABEL, described, folder, guarded


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parser()
    args = options.parse_args(argv)
    if args.predictions and len(args.predictions) != len(args.split):
        options.error("give one --predictions file for each --split, in their order")
    if len({*args.split}) < len(args.split):
        options.error("a --split is named twice: every photo would be its own duplicate")
    return guarded("eval.audit", lambda: _run(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("eval.audit", __doc__)
    add = options.add_argument
    add("--data", required=True, metavar="SOURCE", help="folder, file or hub id")
    add("--split", nargs="+", default=["val"], help="one or several (default val)")
    add("--label", metavar="NAME", help=LABEL)
    model = options.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", help="finds turned photos: demo, a run or a checkpoint")
    model.add_argument(
        "--predictions", type=Path, nargs="+", default=[], metavar="FILE", help="as python -m eval"
    )
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--out", type=folder, default=Path("audit"), metavar="DIR", help="default audit")
    return options


def _run(args: argparse.Namespace) -> None:
    # Here and not above: they take seconds, which --help need not wait for.
    from eval.audit.report import CORRECTIONS, Inspection, predicted
    from eval.report.console import show

    if (args.out / CORRECTIONS).exists():
        raise ValueError(
            f"{args.out / CORRECTIONS} is there already, perhaps edited: move it away, or choose"
            " another --out"
        )
    files = args.predictions or [None] * len(args.split)
    pairs = zip(args.split, files, strict=True)
    predictions = [predicted(args, split, file) for split, file in pairs]
    inspection = Inspection.of(args.data, args.split, predictions, args.label)
    show([inspection.summary()])
    inspection.write(args.out)
    print(json.dumps(inspection.record() | {"file": str(args.out / CORRECTIONS)}))


if __name__ == "__main__":
    sys.exit(main())
