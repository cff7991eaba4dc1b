"""Checks the fields of a predictions file; a mistake is a ValueError that names its place."""

import json
from typing import Any

from nutrition_vl.boxes import LABELS
from nutrition_vl.data.rows import is_box, is_number


def check_boxes(boxes: Any, where: str) -> list[list[float]]:
    """The same boxes, each four finite numbers."""
    for box in boxes if isinstance(boxes, list) else [boxes]:
        if not is_box(box):
            raise ValueError(f"{where}: a box needs four finite numbers, not {json.dumps(box)}")
    return boxes


def check_order(boxes: list[list[float]], where: str) -> list[list[float]]:
    """The same boxes, each with x0 <= x1 and y0 <= y1."""
    for box in boxes:
        if box[0] > box[2] or box[1] > box[3]:
            raise ValueError(f"{where}: a box is x0, y0, x1, y1 with x0 <= x1 and y0 <= y1: {box}")
    return boxes


def check_number(value: Any, where: str) -> float:
    """The same number."""
    if not isinstance(value, int | float):
        raise ValueError(f"{where}: expected a number, got {value!r}")
    return value


def check_count(value: Any, where: str) -> int:
    """The same whole number from 0."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{where}: expected a count, got {value!r}")
    return value


def check_labels(labels: list[Any], where: str) -> list[str]:
    """The same labels, each one of LABELS."""
    if unknown := [label for label in labels if label not in LABELS]:
        raise ValueError(
            f"{where}: the label {unknown[0]!r} is none of {', '.join(LABELS)}: name the nutrition"
            " table's with --label to leave other classes out"
        )
    return labels


def check_scores(scores: list[Any], where: str) -> list[float]:
    """The same confidences, each from 0 to 1."""
    if wrong := [score for score in scores if not is_number(score) or not 0 <= score <= 1]:
        raise ValueError(f"{where}: a confidence must be from 0 to 1, not {wrong[0]}")
    return scores
