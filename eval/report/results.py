"""From answers to results: every number of a row, and how the rows differ."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.metrics.average_precision import AveragePrecision, average_precision, unranked
from eval.metrics.bootstrap import COMPARED, Interval, difference, interval, resample
from eval.metrics.measures import Tally, tally
from eval.metrics.pairing import Pairing, pair
from eval.predictions.predictions import Answers

if TYPE_CHECKING:
    from datasets import Dataset

    from eval.sweep.targets import Target


@dataclass(frozen=True)
class Result:
    """One row of a report: a model's answers and all that is known from them.

    `answers` are those shown, of a confidence of at least `threshold`; `every` box has its say in
    average precision and in what is told by confidence.
    """

    answers: Answers
    every: tuple[Answers, Pairing]
    threshold: float
    target: "Target | None"
    pairing: Pairing
    counts: Tally
    drawn: np.ndarray
    precision: AveragePrecision
    unranked: float

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

    @property
    def perturb(self) -> str:
        """How its photos were spoilt, by a name of `perturb.PERTURBATIONS`, if they were."""
        return self.target.perturb if self.target else ""

    @property
    def seed(self) -> int | None:
        """The seed a checkpoint was trained with."""
        return self.target.card.seed if self.target and self.target.card else None

    def scores(self) -> dict[str, float]:
        """Every number over all photos, by name."""
        unranked = {"ap_unranked": self.unranked}
        return self.counts.scores() | self.precision.scores() | unranked

    def sure(self, measure: str) -> Interval:
        """The 95 % interval of one of `bootstrap.COMPARED`."""
        return interval(self.counts, self.drawn, measure)

    def record(self) -> dict[str, Any]:
        """The row as one object of JSON."""
        sizes = {
            "photos": len(self.answers.ids),
            "boxes": len(self.answers.truth),
            "found": len(self.answers.predictions),
        }
        bounds = {f"{name}_95": [*_bounds(self.sure(name))] for name in COMPARED}
        named = {"name": self.name, "run": self.run, "step": self.step, "seed": self.seed}
        named["differs"] = "; ".join(self.answers.differs)
        return named | {"threshold": self.threshold} | sizes | self.scores() | bounds


@dataclass(frozen=True)
class Report:
    """All rows, those on spoilt photos (`target.perturb` says how), the split if it is here, and in
    words what it is."""

    results: list[Result]
    perturbed: list[Result] = field(default_factory=list)
    rows: "Dataset | None" = None
    about: str = ""


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


def evaluate(answers: Answers, target: "Target | None" = None, threshold: float = 0.0) -> Result:
    """Scores one model's answers; `target` says which row of a sweep they are. Boxes below the
    threshold are left out of all but average precision."""
    every = pair(answers)
    precision = average_precision(answers, every)
    shown = answers.above(threshold)
    pairing = pair(shown) if threshold else every
    counts = tally(shown, pairing)
    rest = resample(counts), precision, unranked(answers)
    return Result(shown, (answers, every), threshold, target, pairing, counts, *rest)


def best(results: Sequence[Result]) -> Result:
    """The row with the highest F1 at 0.5, among equals the one with the highest mean IoU.

    A row that is not comparable is the best only among its like.
    """
    comparable = [row for row in results if not row.answers.differs] or results
    return max(comparable, key=lambda row: (row.scores()["f1@0.5"], row.scores()["mean_iou"]))


def called(row: Result, results: Sequence[Result]) -> str:
    """The row's name, with its run where there are several or another row has that name, starred
    where it is not comparable."""
    runs = {other.run for other in results if other.run}
    twice = sum(other.name == row.name for other in results) > 1
    prefixed = twice or (len(runs) > 1 and row.step is not None)
    name = f"{row.run}/{row.name}" if prefixed and row.run else row.name
    return name + "*" * bool(row.answers.differs)


def differences(results: Sequence[Result]) -> list[Difference]:
    """The best row against every other that answers the same photos, in mean IoU and F1."""
    first = best(results)
    return [
        Difference(
            called(first, results), called(row, results), measure, compare(first, row, measure)
        )
        for row in results
        if row is not first and same_photos(row, first)
        for measure in COMPARED
    ]


def same_photos(first: Result, second: Result) -> bool:
    """Whether a paired difference of the two means anything."""
    return sorted(first.answers.ids) == sorted(second.answers.ids)


def compare(first: Result, second: Result, measure: str) -> Interval:
    """The first row's number less the second's, photo for photo, in whatever order they stand."""
    counts, drawn = second.counts, second.drawn
    if first.answers.ids != second.answers.ids:
        place = {name: index for index, name in enumerate(second.answers.ids)}
        counts = counts.of(np.array([place[name] for name in first.answers.ids]))
        drawn = resample(counts)
    return difference((first.counts, first.drawn), (counts, drawn), measure)


def by_recipe(results: Sequence[Result]) -> dict[tuple[str, int], list[Result]]:
    """The rows of runs that differ by their seed alone, by recipe and step."""
    groups: dict[tuple[str, str, int, int], list[Result]] = defaultdict(list)
    for row in results:
        if row.target and row.target.card and row.step is not None:
            card = row.target.card
            groups[card.recipe, card.dataset, card.max_tokens, row.step].append(row)
    return {
        (recipe, step): rows
        for (recipe, _, _, step), rows in groups.items()
        if len({row.seed for row in rows}) == len(rows)
    }


def _bounds(found: Interval) -> tuple[float, float]:
    return found.low, found.high
