"""What to evaluate: the command line as a dataclass."""

import argparse
from dataclasses import dataclass
from pathlib import Path

ABOUT = "Scores checkpoints, or predictions of any model, against the true boxes of a split."
DETAILS = """
examples:
  python -m eval --checkpoint demo --data photos/ --split val
  python -m eval --run runs/qlora --split val          # base, then every checkpoint in order
  python -m eval --run runs/a --run runs/b --split val --out compared/
  python -m eval --predictions baseline_samples.csv exp1a_samples.csv
  python -m eval --predictions yolo.json --data instances.json

Predictions are kept in RUN/eval/predictions and only gaps are filled: stop and start at will.
The last line on stdout is one JSON object with every number.
exit codes: 0 all is scored, 2 something is wrong and nothing was overwritten
"""


@dataclass(frozen=True)
class EvalConfig:
    """One of `runs`, `checkpoint` and `predictions` says what to score; `out` gets the report."""

    runs: tuple[Path, ...] = ()
    checkpoint: str | None = None
    predictions: tuple[Path, ...] = ()
    data: str | None = None
    split: str = "val"
    limit: int | None = None
    batch_size: int = 8
    device: str = "auto"
    out: Path | None = None


def parse(argv: list[str] | None = None) -> EvalConfig:
    """The command line; argparse exits with 2 and one sentence for what it does not understand."""
    found = parser().parse_args(argv)
    return EvalConfig(
        runs=tuple(found.run),
        checkpoint=found.checkpoint,
        predictions=tuple(found.predictions),
        data=found.data,
        split=found.split,
        limit=found.limit,
        batch_size=found.batch_size,
        device=found.device,
        out=found.out,
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m eval",
        description=ABOUT,
        epilog=DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--run", type=Path, action="append", default=[], help="a run folder; may be repeated"
    )
    what.add_argument("--checkpoint", help="demo, a checkpoint folder, a run (its best) or a base")
    what.add_argument(
        "--predictions", type=Path, nargs="+", default=[], metavar="FILE", help="no model needed"
    )
    add = options.add_argument
    add("--data", metavar="SOURCE", help="folder, file or hub id (default the Open Food Facts set)")
    add("--split", default="val", help="default val")
    add("--limit", type=_positive, metavar="N", help="only the first N photos")
    add("--batch-size", type=_positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--out", type=Path, metavar="DIR", help="where the report goes (default RUN/eval)")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number from 1 up, not {text}")
    return int(text)
