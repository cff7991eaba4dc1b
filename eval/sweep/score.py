"""Scores everything that the command names: models first, then predictions files."""

from dataclasses import replace
from typing import TYPE_CHECKING

from eval.config import EvalConfig
from eval.predictions.predictions import Answers, truth_of
from eval.predictions.read import read
from eval.report.results import Report, evaluate
from eval.sweep.targets import checkpoints

if TYPE_CHECKING:  # it takes seconds, which scoring files need not wait for
    from datasets import Dataset


def score(config: EvalConfig) -> Report | None:
    """The report of the command; None in a process of several that does not write it."""
    for run in config.runs:
        checkpoints(run)  # before the data, which may have to be fetched
    rows = _rows(config)
    files = [evaluate(answers, config.threshold or 0.0) for answers in _read(config, rows)]
    if rows is None:
        return Report(files)
    from nutrition_vl.data import DATASET

    report: Report | None = Report([])
    if config.runs_models:
        from eval.sweep.sweep import run as sweep

        report = sweep(rows, config)
    about = f"{config.data or DATASET}, split {config.split}"
    return report and replace(report, results=[*report.results, *files], rows=rows, about=about)


def _rows(config: EvalConfig) -> "Dataset | None":
    """The split; None where the predictions files bring the truth themselves."""
    if not config.data and not config.runs_models:
        return None
    from nutrition_vl.data import DATASET, load_split

    return load_split(
        config.data or DATASET,
        config.split,
        config.limit,
        corrections=config.corrections,
        label=config.label,
    )


def _read(config: EvalConfig, rows: "Dataset | None") -> list[Answers]:
    """The predictions files, named by their paths where two have one name.

    ValueError for predictions made with other settings than the checkpoint's card, unless forced.
    """
    truths, ids = truth_of(rows) if rows is not None else None, _split_ids(config)
    files = [
        read(file, truths, config.data, ids, config.split, config.label)
        for file in config.predictions
    ]
    for answers in files:
        if answers.differs and not config.force:
            differs = "; ".join(answers.differs)
            raise ValueError(f"{answers.name} is not comparable ({differs}): --force flags it")
    if len({answers.name for answers in files}) == len(files):
        return files
    paths = [str(file.with_suffix("")) for file in config.predictions]
    return [replace(answers, name=path) for answers, path in zip(files, paths, strict=True)]


def _split_ids(config: EvalConfig) -> set[str]:
    """All ids of the split where files may hold more of its photos than are scored."""
    if not config.predictions or not (config.limit or config.corrections):
        return set()
    from nutrition_vl.data import DATASET
    from nutrition_vl.data.sources import read_samples

    samples = read_samples(config.data or DATASET, config.split, skipped=[])
    return {sample.id for sample in samples}
