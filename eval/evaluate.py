"""From answers to results: every number of a row, and how the rows differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.answers import Answers
from eval.average_precision import AveragePrecision, average_precision
from eval.bootstrap import COMPARED, Interval, difference, interval, resample
from eval.matching import Pairing, pair
from eval.metrics import Tally, tally
from eval.targets import Target


@dataclass(frozen=True)
class Result:
    """One row of a report: a model's answers and all that is known from them."""

    answers: Answers
    target: Target | None
    pairing: Pairing
    counts: Tally
    drawn: np.ndarray
    precision: AveragePrecision

    @property
    def name(self) -> str:
        """What the row is called."""
        return self.answers.name

    @property
    def run(self) -> str:
        """The name of the run it belongs to, if any."""
        return self.target.run if self.target else ""

    @property
    def step(self) -> int | None:
        """The step of a checkpoint."""
        return self.target.step if self.target else None

    def scores(self) -> dict[str, float]:
        """Every number over all photos, by name."""
        return self.counts.scores() | self.precision.scores()

    def sure(self, measure: str) -> Interval:
        """The 95 % interval of one of `bootstrap.COMPARED`."""
        return interval(self.counts, self.drawn, measure)

    def record(self) -> dict[str, Any]:
        """The row as one object of JSON."""
        sizes = {
            "photos": len(self.answers.ids),
            "boxes": len(self.answers.truth),
            "found": len(self.answers.found),
        }
        bounds = {f"{name}_95": [*_bounds(self.sure(name))] for name in COMPARED}
        named = {"name": self.name, "run": self.run, "step": self.step}
        return named | sizes | self.scores() | bounds


@dataclass(frozen=True)
class Difference:
    """How much one row's number is above another's, over the same photos."""

    first: str
    second: str
    measure: str
    interval: Interval

    def record(self) -> dict[str, Any]:
        """The difference as one object of JSON."""
        low, high = _bounds(self.interval)
        return {
            "first": self.first,
            "second": self.second,
            "measure": self.measure,
            "difference": self.interval.value,
            "difference_95": [low, high],
            "distinguishable": not self.interval.holds_zero,
        }


def evaluate(answers: Answers, target: Target | None = None) -> Result:
    """Scores one model's answers; `target` says which row of a sweep they are."""
    pairing = pair(answers)
    counts = tally(answers, pairing)
    precision = average_precision(answers, pairing)
    return Result(answers, target, pairing, counts, resample(counts), precision)


def best(results: Sequence[Result]) -> Result:
    """The row with the highest F1 at 0.5, among equals the one with the highest mean IoU."""
    return max(results, key=lambda row: (row.scores()["f1@0.5"], row.scores()["mean_iou"]))


def called(row: Result, results: Sequence[Result]) -> str:
    """The row's name, with its run where there are several."""
    several = len({other.run for other in results}) > 1
    return f"{row.run}/{row.name}" if several else row.name


def differences(results: Sequence[Result]) -> list[Difference]:
    """The best row against every other that answers the same photos, in mean IoU and F1."""
    first = best(results)
    return [
        Difference(
            called(first, results),
            called(row, results),
            measure,
            difference((first.counts, first.drawn), (row.counts, row.drawn), measure),
        )
        for row in results
        if row is not first and row.answers.ids == first.answers.ids
        for measure in COMPARED
    ]


def _bounds(found: Interval) -> tuple[float, float]:
    return found.low, found.high
