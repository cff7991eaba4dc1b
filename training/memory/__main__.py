"""Measures the memory and time of each training technique on this machine.

examples:
  python -m training.memory --model_name_or_path demo --max_image_tokens 48
  python -m training.memory --model_name_or_path random:7b --forecast 24
  python -m training.memory --model_name_or_path random:7b --rows trl,fast,low --out report

All further options are settings of python -m training.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nutrition_vl.cli import described, folder, guarded, positive
from training.memory.techniques import TECHNIQUES

if TYPE_CHECKING:
    from training.memory.rows import Row


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; 0 when all was measured, 1 when some could not be, 2 for a mistake."""
    command = parser()
    options, settings = command.parse_known_args(arguments)
    if options.forecast and options.out:
        command.error("--forecast is only printed: leave out --out")
    return guarded("training.memory", lambda: _run(options, settings))


def _run(options: argparse.Namespace, settings: Sequence[str]) -> int:
    # Imported here: it takes seconds, which --help need not wait for.
    from training.memory import report, rows
    from training.settings.cli import parse

    keys, config = options.rows.split(","), parse(settings)
    if unknown := [key for key in keys if key not in TECHNIQUES]:
        raise ValueError(f"there is no row {unknown[0]}: use {', '.join(TECHNIQUES)}")
    words = ["--rows", options.rows, "--steps", str(options.steps), *settings]
    facts = {
        "base": config.model_name_or_path,
        "machine": config.runtime.reason,
        "command": shlex.join(["python", "-m", "training.memory", *words]),
    }
    settings = [*settings, "--max_steps", str(rows.WARM_UP + options.steps)]
    out, measured = options.out or Path("runs/memory"), []
    with tempfile.TemporaryDirectory() as place:
        for key in keys:
            row = rows.forecast(key, settings, Path(place), options.forecast)
            measured.append(row)
            if not (options.forecast or row.problem):
                rows.measure(row)
            if not options.forecast:
                report.write(measured, out, **facts)
            _print(row)
    if not options.forecast:
        print(report.table(measured), f"written: {out}", sep="\n")
    return int(any(row.problem for row in measured))


def _print(row: "Row") -> None:
    parts = ", ".join(f"{part} {size:.2f}" for part, size in row.forecast_gb.items())
    forecast = f"forecast {sum(row.forecast_gb.values()):.2f} GB ({parts}), {row.plan}"
    peak = f"{row.peak_gb:.2f} GB, {row.seconds:.3f} s per step, " if row.seconds else ""
    print(f"{TECHNIQUES[row.key][0]:40} {row.problem or peak + forecast}", flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line; unknown options are settings of the training."""
    keys, command = ", ".join(TECHNIQUES), described("training.memory", __doc__)
    command.allow_abbrev = False
    add = command.add_argument
    add("--forecast", type=float, metavar="GB", help="only forecast, for a GPU of so many GB")
    add("--out", type=folder, help="folder of the report (default: runs/memory); not of forecasts")
    add("--rows", default=keys.replace(" ", ""), help=f"which, of {keys} (default: all)")
    add("--steps", type=positive, default=5, help="timed ones per row, after three (default: 5)")
    return command


if __name__ == "__main__":
    sys.exit(main())
