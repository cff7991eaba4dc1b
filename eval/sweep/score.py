"""Scores everything that the command names: models first, then predictions files."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval.config import EvalConfig
from eval.predictions.predictions import Answers, truth_of
from eval.predictions.read import read
from eval.report.results import Report, evaluate
from eval.sweep.targets import checkpoints
from nutrition_vl.data.rows import Skipped, warn_skipped

if TYPE_CHECKING:  # it takes seconds, which scoring files need not wait for
    from datasets import Dataset


def score(config: EvalConfig) -> Report | None:
    """The report of the command; None in a process of several that does not write it."""
    for run in config.runs:
        checkpoints(run)  # before the data, which may have to be fetched
    skipped: list[Skipped] = []
    rows = _rows(config, skipped)
    threshold = config.threshold or 0.0
    files = [evaluate(answers, threshold) for answers in _read(config, rows, skipped)]
    if rows is None:
        return Report(files)
    from nutrition_vl.data import DATASET

    report: Report | None = Report([])
    if config.runs_models:
        from eval.sweep.sweep import run as sweep

        report = sweep(rows, config)
    about = f"{config.data or DATASET}, split {config.split}"
    return report and replace(report, results=[*report.results, *files], rows=rows, about=about)


def _rows(config: EvalConfig, skipped: list[Skipped]) -> "Dataset | None":
    """The split; None where the predictions files bring the truth themselves.

    Photos that cannot be read are named in the log and not scored.
    """
    if not config.data and not config.runs_models:
        return None
    from nutrition_vl.data import DATASET, load_split

    source = config.data or DATASET
    rows = load_split(source, config.split, config.limit, skipped, config.corrections, config.label)
    warn_skipped(source, skipped, "scored")
    return rows


def _read(config: EvalConfig, rows: "Dataset | None", skipped: list[Skipped]) -> list[Answers]:
    """The predictions files, named by their paths where two have one name.

    ValueError for predictions made with other settings than the checkpoint's card, unless forced.
    """
    truths, ids = truth_of(rows) if rows is not None else None, _split_ids(config, skipped)
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


def _split_ids(config: EvalConfig, skipped: list[Skipped]) -> set[str]:
    """All ids of the split where files may hold more of its photos than are scored."""
    if not config.predictions or not (config.limit or config.corrections or skipped):
        return set()
    from nutrition_vl.data import DATASET
    from nutrition_vl.data.sources import read_samples

    samples = read_samples(config.data or DATASET, config.split, skipped=[])
    unread = {name for one in skipped for name in (one.id, Path(one.id).stem)}
    return {sample.id for sample in samples} | unread
