"""python -m eval: see `python -m eval --help`."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from eval.config import EvalConfig, parse
from nutrition_vl.cli import guarded

if TYPE_CHECKING:
    from datasets import Dataset

    from eval.predictions.predictions import Answers
    from eval.report.results import Report


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    config = parse(argv)
    return guarded("eval", lambda: _run(config))


def _run(config: EvalConfig) -> int:
    # Here and not above, as below: they take seconds, which --help need not wait for.
    from eval.report.console import line, show
    from eval.report.tables import summary

    report = _report(config)
    if report is None:  # one of several processes, of which another reports
        return 0
    show(summary(report))
    if config.out or config.asks_models:
        from eval.report.files import write
        from eval.sweep.targets import home

        write(report, home(config))
    print(line(report))
    return 0


def _report(config: EvalConfig) -> "Report | None":
    """The models' rows, then those of the predictions files."""
    from eval.report.results import Report, evaluate
    from eval.sweep.targets import checkpoints

    for folder in config.runs:
        checkpoints(folder)  # before the data, which may have to be fetched
    rows = _rows(config)
    shown = config.threshold or 0.0
    results = [evaluate(found, threshold=shown) for found in _read(config, rows)]
    if rows is None:
        return Report(results)
    from nutrition_vl.data import DATASET

    about = f"{config.data or DATASET}, split {config.split}"
    if not config.asks_models:
        return Report(results, rows=rows, about=about)
    from eval.sweep.sweep import run

    report = run(rows, config)
    return report and replace(report, results=[*report.results, *results], about=about)


def _rows(config: EvalConfig) -> "Dataset | None":
    """The split; None where the predictions bring the truth themselves."""
    if not config.data and not config.asks_models:
        return None
    from nutrition_vl.data import DATASET, load_split

    return load_split(
        config.data or DATASET, config.split, config.limit, corrections=config.corrections
    )


def _read(config: EvalConfig, rows: "Dataset | None") -> list["Answers"]:
    """The predictions files, named by their paths where two have one name."""
    from eval.predictions.predictions import truth_of
    from eval.predictions.read import read

    truths, whole = truth_of(rows) if rows is not None else None, _whole(config)
    answers = [read(file, truths, config.data, whole) for file in config.predictions]
    _refuse(answers, config.force)
    if len({found.name for found in answers}) == len(answers):
        return answers
    paths = [str(file.with_suffix("")) for file in config.predictions]
    return [replace(found, name=path) for found, path in zip(answers, paths, strict=True)]


def _whole(config: EvalConfig) -> set[str]:
    """The ids of the split where files may answer more of its photos than are asked for."""
    if not config.predictions or not (config.limit or config.corrections):
        return set()
    from nutrition_vl.data import DATASET
    from nutrition_vl.data.sources import read_samples

    samples = read_samples(config.data or DATASET, config.split, skipped=[])
    return {sample.id for sample in samples}


def _refuse(answers: Iterable["Answers"], force: bool) -> None:
    """ValueError for answers whose file says that they were asked otherwise than the card says."""
    for found in answers:
        if found.differs and not force:
            differs = "; ".join(found.differs)
            raise ValueError(f"{found.name} is not comparable ({differs}): --force flags it")


if __name__ == "__main__":
    sys.exit(main())
