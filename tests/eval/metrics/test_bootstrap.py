"""Intervals: known widths, pairs, and when a difference is noise."""

import numpy as np
import pytest

from eval.metrics.bootstrap import difference, interval, resample, spread
from eval.metrics.measures import NAMES, Tally


def counted(values) -> Tally:
    """Photos with one box each, of these IoUs."""
    above = np.zeros((len(values), len(NAMES)))
    above[:, 0] = values
    return Tally(above, np.ones_like(above))


def resampled(counts):
    return counts, resample(counts)


def test_the_interval_is_two_standard_errors_wide():
    values = np.random.default_rng(0).uniform(size=400)
    found = interval(*resampled(counted(values)))
    error = values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_equal_photos_leave_no_doubt():
    found = interval(*resampled(counted([0.75] * 20)))
    assert (found.low, found.high) == pytest.approx((0.75, 0.75))


def test_a_pair_is_surer_than_its_two_intervals():
    values = np.random.default_rng(1).uniform(size=100)
    first, second = resampled(counted(values)), resampled(counted(values - 0.05))
    found = difference(first, second)
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))
    assert not found.holds_zero
    assert interval(*second).high > interval(*first).low  # unpaired, the two overlap


def test_noise_is_not_distinguishable():
    draw = np.random.default_rng(2)
    first, second = (resampled(counted(draw.uniform(size=100))) for _ in range(2))
    assert difference(first, second).holds_zero


def test_rows_about_other_photos_are_not_compared():
    with pytest.raises(ValueError, match="same photos"):
        difference(resampled(counted([1.0])), resampled(counted([1.0, 0.5])))


def test_spread_over_seeds():
    assert spread([0.7, 0.8, 0.9]) == pytest.approx((0.8, 0.1))
    assert np.isnan(spread([0.7])[1])
