"""Choices and figures drawn from a random generator."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Rng = np.random.Generator
T = TypeVar("T")


def pick(rng: Rng, options: Sequence[T]) -> T:
    """One of `options`."""
    return options[int(rng.integers(len(options)))]


def weighted(rng: Rng, options: Sequence[tuple[T, float]]) -> T:
    """One of the first members, as often as the second says."""
    weights = np.array([weight for _, weight in options])
    return options[int(rng.choice(len(options), p=weights / weights.sum()))][0]


def chance(rng: Rng, probability: float) -> bool:
    """True with that probability."""
    return bool(rng.random() < probability)


def amount(rng: Rng, largest: float, digits: int = 1, comma: bool = False) -> str:
    """A plausible value: often zero, mostly small."""
    value = 0.0 if chance(rng, 0.2) else largest * float(rng.random()) ** 1.5
    text = f"{value:.{digits}f}" if value < 100 else f"{value:.0f}"
    return text.replace(".", ",") if comma else text


def percent(rng: Rng) -> str:
    """A share of the daily value."""
    return f"{0 if chance(rng, 0.25) else int(rng.integers(1, 40))}%"
