"""python -m eval: see `python -m eval --help`."""

import sys

from eval.config import EvalConfig, parse
from nutrition_vl.cli import guarded


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    config = parse(argv)
    return guarded("eval", lambda: _run(config))


def _run(config: EvalConfig) -> int:
    # Here and not above: they take seconds, which --help need not wait for.
    from eval.report.console import json_line, show
    from eval.report.tables import details, summary
    from eval.sweep.score import score

    report = score(config)
    if report is None:  # one of several processes, of which another reports
        return 0
    sheets = summary(report)
    show(sheets)
    if config.out or config.runs_models:
        from eval.report.files import write
        from eval.sweep.targets import report_folder

        write(report, sheets, details(report), report_folder(config))
    print(json_line(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
