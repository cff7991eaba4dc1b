"""A result per row, with every number of it, and the report that compares rows."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.metrics.average_precision import (
    AveragePrecision,
    ap_without_confidence,
    average_precision,
)
from eval.metrics.bootstrap import COMPARED, Interval, difference, interval, resample
from eval.metrics.measures import Tally, tally
from eval.metrics.pairing import Pairing, pair
from eval.predictions.predictions import Answers

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, eq=False)  # equal only to itself: arrays have no single truth
class Result:
    """One row of a report: a model's predictions, their numbers, and the model's origin.

    `answers` holds the boxes of at least `threshold`; `all_boxes` also those below, for average
    precision and the curves over confidence. Rows whose `recipe` is equal differ by `seed` alone.
    """

    answers: Answers
    all_boxes: tuple[Answers, Pairing]
    threshold: float
    pairing: Pairing
    counts: Tally
    resamples: np.ndarray
    precision: AveragePrecision
    ap_without_confidence: float
    run: str = ""
    step: int | None = None
    seed: int | None = None
    perturb: str = ""
    recipe: tuple[str, str, int] | None = None

    @property
    def name(self) -> str:
        """The name of the row."""
        return self.answers.name

    def scores(self) -> dict[str, float]:
        """Every number over all photos, by name."""
        level = {"ap_unranked": self.ap_without_confidence}
        return self.counts.scores() | self.precision.scores() | level

    def interval(self, measure: str) -> Interval:
        """The 95 % interval of one of `bootstrap.COMPARED`."""
        return interval(self.counts, self.resamples, measure)

    def record(self) -> dict[str, Any]:
        """The row as one object of JSON."""
        return {
            "name": self.name,
            "run": self.run,
            "step": self.step,
            "seed": self.seed,
            "differs": "; ".join(self.answers.differs),
            "threshold": self.threshold,
            "photos": len(self.answers.ids),
            "boxes": len(self.answers.truth),
            "found": len(self.answers.predictions),
            **self.scores(),
            **{f"{name}_95": self.interval(name).bounds for name in COMPARED},
        }


class Difference(NamedTuple):
    """One row's number less another's, over the same photos."""

    first: str
    second: str
    measure: str
    interval: Interval


@dataclass(frozen=True)
class Report:
    """All rows, those on worse photos, the split if it is here, and a line about it."""

    results: Sequence[Result]
    perturbed: Sequence[Result] = ()
    rows: "Dataset | None" = None
    about: str = ""

    @cached_property
    def best(self) -> Result:
        """The row with the highest F1 at 0.5; among equals the one with the highest mean IoU."""
        return best(self.results)

    @cached_property
    def differences(self) -> list[Difference]:
        """The best row less every other one on the same photos, in mean IoU and F1."""
        return [
            Difference(
                self.name(self.best), self.name(row), measure, compare(self.best, row, measure)
            )
            for row in self.results
            if row is not self.best and same_photos(row, self.best)
            for measure in COMPARED
        ]

    def name(self, row: Result) -> str:
        """The row's name, with its run where ambiguous, starred if not comparable."""
        runs = {other.run for other in self.results if other.run}
        twice = sum(other.name == row.name for other in self.results) > 1
        prefixed = twice or (len(runs) > 1 and row.step is not None)
        name = f"{row.run}/{row.name}" if prefixed and row.run else row.name
        return name + "*" * bool(row.answers.differs)


def evaluate(answers: Answers, threshold: float = 0.0) -> Result:
    """Scores one model's predictions; boxes below the threshold count in AP and curves alone."""
    all_boxes = answers, pair(answers)
    visible = answers.above(threshold)
    pairing = pair(visible) if threshold else all_boxes[1]
    counts = tally(visible, pairing)
    return Result(
        visible,
        all_boxes,
        threshold,
        pairing,
        counts,
        resample(counts),
        average_precision(*all_boxes),
        ap_without_confidence(answers),
    )


def best(results: Sequence[Result]) -> Result:
    """The best row by F1, then mean IoU; one that is not comparable only among its like."""
    comparable = [row for row in results if not row.answers.differs] or results
    return max(comparable, key=lambda row: (row.scores()["f1@0.5"], row.scores()["mean_iou"]))


def same_photos(first: Result, second: Result) -> bool:
    """True if a paired difference of the two is defined."""
    return sorted(first.answers.ids) == sorted(second.answers.ids)


def compare(first: Result, second: Result, measure: str) -> Interval:
    """The first row's number less the second's, paired by photo in any order."""
    counts, resamples = second.counts, second.resamples
    if first.answers.ids != second.answers.ids:
        place = {name: index for index, name in enumerate(second.answers.ids)}
        counts = counts.of(np.array([place[name] for name in first.answers.ids]))
        resamples = resample(counts)
    return difference((first.counts, first.resamples), (counts, resamples), measure)


def by_recipe(results: Sequence[Result]) -> dict[tuple[str, int], list[Result]]:
    """The rows of runs that differ by their seed alone, by recipe and step."""
    groups: dict[tuple[Any, int], list[Result]] = defaultdict(list)
    for row in results:
        if row.recipe and row.step is not None:
            groups[row.recipe, row.step].append(row)
    return {
        (recipe[0], step): rows
        for (recipe, step), rows in groups.items()
        if len({row.seed for row in rows}) == len(rows)
    }
