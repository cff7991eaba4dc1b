"""python -m eval: see `python -m eval --help`."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from eval.command import guarded
from eval.config import EvalConfig, parse

if TYPE_CHECKING:
    from eval.answers import Answers
    from eval.evaluate import Report


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    config = parse(argv)
    return guarded("eval", lambda: _run(config))


def _run(config: EvalConfig) -> int:
    # Here and not above, as below: they take seconds, which --help need not wait for.
    from eval.screen import line, show
    from eval.tables import summary

    report = _of_files(config) if config.predictions else _of_models(config)
    if report is None:  # one of several processes, of which another reports
        return 0
    show(summary(report))
    if config.out or not config.predictions:
        from eval.report import write
        from eval.targets import home

        write(report, home(config))
    print(line(report))
    return 0


def _of_files(config: EvalConfig) -> "Report":
    from eval.answers import truth_of
    from eval.evaluate import Report, evaluate
    from eval.predictions import read
    from nutrition_vl.data import load_split

    data, limit = config.data, config.limit
    rows = load_split(data, config.split, limit, config.corrections) if data else None
    truths = truth_of(rows) if rows is not None else None
    answers = [read(file, truths, config.data) for file in config.predictions]
    _refuse(answers, config.force)
    stems = [file.stem for file in config.predictions]
    if len(set(stems)) < len(stems):
        paths = [str(file.with_suffix("")) for file in config.predictions]
        answers = [replace(found, name=path) for found, path in zip(answers, paths, strict=True)]
    return Report([evaluate(found) for found in answers], rows=rows)


def _of_models(config: EvalConfig) -> "Report | None":
    from eval.targets import checkpoints
    from nutrition_vl.data import DATASET, load_split

    for folder in config.runs:
        checkpoints(folder)  # before the data, which may have to be fetched
    rows = load_split(config.data or DATASET, config.split, config.limit, config.corrections)
    from eval.sweep import run  # with PyTorch, which a mistake in the data need not wait for

    return run(rows, config)


def _refuse(answers: Iterable["Answers"], force: bool) -> None:
    """ValueError for answers whose file says that they were asked otherwise than the card says."""
    for found in answers:
        if found.differs and not force:
            differs = "; ".join(found.differs)
            raise ValueError(f"{found.name} is not comparable ({differs}): --force flags it")


if __name__ == "__main__":
    sys.exit(main())
