"""95 % bootstrap intervals over photos; differences are paired.

Percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Whole
photos are drawn, since the boxes of one photo fail together.
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
    def bounds(self) -> list[float]:
        """Low and high."""
        return [self.low, self.high]

    @property
    def holds_zero(self) -> bool:
        """True if zero lies inside: then two rows are not distinguishable."""
        return self.low <= 0 <= self.high


def resample(counts: Tally) -> np.ndarray:
    """Each number of COMPARED in each of DRAWS samples of the photos, (draws, 2).

    The seed is fixed, so tallies of the same photos get the same samples, which pairs them.
    """
    draw, photos = np.random.default_rng(SEED), len(counts.above)
    columns = [NAMES.index(name) for name in COMPARED]
    table = np.concatenate([counts.above[:, columns], counts.below[:, columns]], axis=1)
    # How often each photo is drawn, as floats: the product is then BLAS's.
    times = (
        np.bincount(draw.integers(photos, size=photos), minlength=photos).astype(float)
        for _ in range(DRAWS)
    )
    return shares(*np.split(np.array([weights @ table for weights in times]), 2, axis=1))


def interval(counts: Tally, resamples: np.ndarray, measure: str = "mean_iou") -> Interval:
    """The measure's 95 % interval over photos; `resamples` is `resample(counts)`."""
    return _interval(resamples[:, COMPARED.index(measure)], counts.scores()[measure])


def difference(
    first: tuple[Tally, np.ndarray], second: tuple[Tally, np.ndarray], measure: str = "mean_iou"
) -> Interval:
    """The first's number less the second's, paired by photo; both are a tally and its `resample`.

    Raises ValueError where the two do not have equally many photos.
    """
    if len(first[0].above) != len(second[0].above):
        raise ValueError("a paired difference needs the same photos in both")
    column = COMPARED.index(measure)
    resamples = first[1][:, column] - second[1][:, column]
    return _interval(resamples, first[0].scores()[measure] - second[0].scores()[measure])


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) over seeds; NaN for the deviation of one."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    return float(np.mean(values)), float(deviation)


def _interval(resamples: np.ndarray, value: float) -> Interval:
    low, high = np.percentile(resamples, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
