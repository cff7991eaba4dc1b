"""Measures what each technique of training takes, in memory and in time, on the machine at hand.

examples:
  python -m training.memory --model_name_or_path demo --max_image_tokens 48
  python -m training.memory --model_name_or_path random:7b --forecast 24
  python -m training.memory --model_name_or_path random:7b --rows trl,fast,low --out report
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nutrition_vl.cli import folder, guarded, positive
from training.memory.techniques import TECHNIQUES


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; 0 when all was measured, 1 when some could not be, 2 for a mistake."""
    found = parser()
    options, rest = found.parse_known_args(arguments)
    if options.forecast and options.out:
        found.error("--forecast is only printed: leave out --out")
    options.out = options.out or Path("runs/memory")
    return guarded("training.memory", lambda: _run(options, rest))


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    # Here and not above: it takes seconds, which --help need not wait for.
    from transformers.utils.logging import set_verbosity_error

    from training.memory.rows import Report

    set_verbosity_error()
    with tempfile.TemporaryDirectory() as place:
        report = Report(options, rest, Path(place))
        rows = report.foresee() if options.forecast else report.measure()
    return int(any(row.problem for row in rows))


def parser() -> argparse.ArgumentParser:
    """The command line; what it does not know are settings of the training."""
    about, _, details = (__doc__ or "").partition("\n")
    keys = [row.key for row in TECHNIQUES]
    found = argparse.ArgumentParser(
        prog="python -m training.memory",
        allow_abbrev=False,
        description=f"{about} All further words are settings of python -m training.",
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--forecast", type=float, metavar="GB", help="work it out for a GPU of so many GB only")
    add("--out", type=folder, help="folder of the report (default: runs/memory); not of forecasts")
    add("--rows", default=",".join(keys), help=f"which, of {', '.join(keys)} (default: all)")
    add(
        "--steps", type=positive, default=5, help="timed ones of each row, after three (default: 5)"
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
