"""How sure a box is: the model's probabilities of its tokens, and what they turned out to mean."""

import json
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
    """The geometric mean probability of the tokens that were a choice, 1.0 if none was."""
    scores = [token.score for token in tokens if token.choices > 1]
    return float(np.exp(np.mean(scores))) if scores else 1.0


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
        """Isotonic regression (Zadrozny and Elkan, KDD 2002) of `right` (0 or 1) on sureness."""
        order = np.argsort(sureness, kind="stable")
        found = isotonic_regression(right[order].astype(float))
        blocks = found.blocks
        middles = [sureness[order][a:b].mean() for a, b in pairwise(blocks)]
        levels = found.x[blocks[:-1]]
        return cls([float(x) for x in middles], [float(y) for y in levels], len(right))

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
