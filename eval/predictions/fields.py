"""What may stand in a predictions file; a mistake is a ValueError that names its place."""

import json
from math import isfinite
from typing import Any

from nutrition_vl.boxes import LABELS


def corners(boxes: Any, where: str) -> list[list[float]]:
    """Boxes of four finite numbers each, as they are."""
    for box in boxes if isinstance(boxes, list) else [boxes]:
        if not isinstance(box, list) or len(box) != 4 or not all(map(_finite, box)):
            raise ValueError(f"{where}: a box needs four finite numbers, not {json.dumps(box)}")
    return boxes


def a_number(value: Any, where: str) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"{where}: {value!r} stands where a number belongs")
    return value


def _finite(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and isfinite(number)


def known_labels(labels: list[Any], where: str) -> list[str]:
    if unknown := [label for label in labels if label not in LABELS]:
        raise ValueError(f"{where}: the label {unknown[0]!r} is none of {', '.join(LABELS)}")
    return labels


def scores(scores: list[Any], where: str) -> list[float]:
    if wrong := [score for score in scores if not _finite(score) or not 0 <= score <= 1]:
        raise ValueError(f"{where}: a confidence must be from 0 to 1, not {wrong[0]}")
    return scores
