"""How sure a number is: 95 % intervals from photos drawn anew, in pairs for a difference.

Percentile bootstrap over photos (Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 13): boxes of a photo stay together, since one photo's boxes fail together.
"""

from dataclasses import dataclass

import numpy as np

from eval.metrics.measures import NAMES, Tally, shares

DRAWS = 1000
SEED = 42
COMPARED = ("mean_iou", "f1@0.5")  # the numbers that get an interval


@dataclass(frozen=True)
class Interval:
    """A number with the bounds that hold 95 % of the resampled ones."""

    value: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether a difference of nothing lies within: then two rows are not distinguishable."""
        return self.low <= 0 <= self.high


def resample(counts: Tally) -> np.ndarray:
    """Each number of COMPARED in each of DRAWS samples of the photos, (draws, 2).

    The seed is fixed: tallies of the same photos are drawn alike, which is what pairs them.
    """
    draw, photos = np.random.default_rng(SEED), len(counts.above)
    columns = [NAMES.index(name) for name in COMPARED]
    table = np.concatenate([counts.above[:, columns], counts.below[:, columns]], axis=1)
    # How often each photo is drawn, as floats: the product is then BLAS's.
    times = (
        np.bincount(draw.integers(photos, size=photos), minlength=photos).astype(float)
        for _ in range(DRAWS)
    )
    sums = [drawn @ table for drawn in times]
    return shares(*np.split(np.array(sums), 2, axis=1))


def interval(counts: Tally, drawn: np.ndarray, measure: str = "mean_iou") -> Interval:
    """The measure's 95 % interval over photos; `drawn` is `resample(counts)`."""
    return _within(drawn[:, COMPARED.index(measure)], counts.scores()[measure])


def difference(
    first: tuple[Tally, np.ndarray], second: tuple[Tally, np.ndarray], measure: str = "mean_iou"
) -> Interval:
    """The first's number less the second's, of tallies with their `resample`, photo for photo.

    Raises ValueError where the two do not have equally many photos.
    """
    if len(first[0].above) != len(second[0].above):
        raise ValueError("a paired difference needs the same photos in both")
    column = COMPARED.index(measure)
    drawn = first[1][:, column] - second[1][:, column]
    return _within(drawn, first[0].scores()[measure] - second[0].scores()[measure])


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) over seeds; NaN for the deviation of one."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    return float(np.mean(values)), float(deviation)


def _within(drawn: np.ndarray, value: float) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
