"""How sure a box is: the model's probabilities of its tokens, and what they turned out to mean."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from scipy.optimize import isotonic_regression

from nutrition_vl.rows import Token

CALIBRATION = "calibration.json"


def sureness(tokens: Sequence[Token]) -> float:
    """The probability of a box's first token, where the model decides that there is one.

    Its other tokens say how sharp the edges are. On real photos the first alone ranks boxes best:
    average precision 0.61 where the geometric mean of all has 0.53 and equal scores have 0.52.
    """
    return math.exp(tokens[0].score)


@dataclass(frozen=True)
class Calibration:
    """A rising line through points, from sureness to the share of boxes that are right.

    Without points it leaves sureness as it is. `fitted` says on how many boxes it was fitted.
    """

    sure: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    fitted: int = 0

    def __call__(self, sureness: np.ndarray) -> np.ndarray:
        """Confidence (boxes,) of boxes of this sureness."""
        if not self.sure:
            return sureness
        return np.interp(sureness, self.sure, self.right).astype(np.float32)

    @classmethod
    def fit(cls, sureness: np.ndarray, right: np.ndarray) -> Self:
        """Isotonic regression (Zadrozny and Elkan, KDD 2002) of `right` (0 or 1) on sureness.

        One wrong box of no sureness and one right box of all are added, so that no box is
        promised more than its number bears out.
        """
        order = np.argsort(sureness, kind="stable")
        sure = np.array([0.0, *sureness[order], 1.0])
        found = isotonic_regression(np.array([0.0, *right[order], 1.0]))
        middles = [float(sure[a:b].mean()) for a, b in pairwise(found.blocks)]
        levels = [float(level) for level in found.x[found.blocks[:-1]]]
        return cls(middles, levels, len(right))

    def save(self, folder: Path) -> None:
        """Beside the adapter in its folder."""
        text = json.dumps(asdict(self)) + "\n"
        (folder / CALIBRATION).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The calibration of a checkpoint folder, none where it has none; ValueError if broken."""
        path = folder / CALIBRATION
        if not path.is_file():
            return cls()
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no calibration: fit it again, or remove it") from error


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """The expected calibration error (Guo et al., ICML 2017): how far confidence is from the share
    of right boxes, over bins of equal width, weighted by the boxes in them; nan without boxes."""
    found = reliability(confidence, right, bins)
    return (
        sum(n * abs(sure - share) for n, sure, share in found) / len(right) if found else math.nan
    )


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = 10
) -> list[tuple[int, float, float]]:
    """Boxes, mean confidence and share of right ones of each bin that has any."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    inside = [place == number for number in range(bins) if (place == number).any()]
    return [
        (int(some.sum()), float(confidence[some].mean()), float(right[some].mean()))
        for some in inside
    ]
