"""Turns detections into Qwen2-VL's box text and back: the one place that knows the 0-1000 grid.

The spelling is the model's own (Qwen2-VL, arXiv:2409.12191, section 2.1): x first, integers of a
grid laid over the whole photo, whatever its resolution:
`<|object_ref_start|>nutrition-table<|object_ref_end|><|box_start|>(x0,y0),(x1,y1)<|box_end|>`
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import supervision as sv

GRID = 1000
# The categories of openfoodfacts/nutrition-table-detection; a label's class id is its index.
LABELS = (
    "nutrition-table",
    "nutrition-table-text",
    "nutrition-table-small",
    "nutrition-table-small-energy",
)

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_POINT = rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)"
_LABEL = "|".join(sorted(LABELS, key=len, reverse=True))  # by name, so that prose costs linear time
# An attempt at a box is an opening mark or a point, then all points that commas join to it. Label
# and marks may be missing: text decoded without special tokens reads `nutrition-table(1,2),(3,4)`,
# and an untuned base writes `nutrition-table<box>(1,2),(3,4)></box>`.
_ATTEMPT = re.compile(
    rf"""
    (?: (?:<\|object_ref_start\|>)? (?<![\w-]) (?P<label>{_LABEL}) (?:<\|object_ref_end\|>)? \s* )?
    (?= <\|box_start\|> | <box | \( )
    (?P<mark> (?: <\|box_start\|> | <box>? ) \s* )?
    (?P<points> {_POINT} (?: \s*,\s* {_POINT} )* )?
    (?P<unfinished> \s*,\s*\( )?
    (?: <\|box_end\|> | >?(?:</box>)? )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Parsed:
    """What a text says: `detections` in pixels, where each stands in the text (`spans`: its first
    character and the one after its last), and how many attempts at a box were `malformed`."""

    detections: sv.Detections
    spans: list[tuple[int, int]]
    malformed: int


def make_detections(
    xyxy: np.ndarray | Sequence[Sequence[float]],
    labels: Sequence[str] | None = None,
    confidence: Sequence[float] | None = None,
) -> sv.Detections:
    """Boxes (n, 4) in pixels as `sv.Detections`, labelled from LABELS (all the first by default).

    Confidence is 1.0 where none is known: supervision's metrics need one.
    """
    corners = np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)
    names = list(labels) if labels is not None else [LABELS[0]] * len(corners)
    scores = np.ones(len(corners)) if confidence is None else np.asarray(confidence)
    return sv.Detections(
        xyxy=corners,
        class_id=np.array([LABELS.index(name) for name in names], dtype=int),
        confidence=scores.astype(np.float32),
        data={"class_name": np.array(names, dtype=object)},
    )


def to_text(detections: sv.Detections, image_wh: tuple[int, int]) -> str:
    """The answer the model learns: boxes from top to bottom, then left to right; "" for none."""
    if detections.class_id is None:
        raise ValueError("these detections carry no class ids: build them with make_detections")
    grid = np.rint(detections.xyxy / _scale(image_wh)).astype(int)
    # A box thinner than a grid step keeps one step: without area it would not be read back.
    grid[:, :2] = grid[:, :2].clip(0, GRID - 1)
    grid[:, 2:] = np.maximum(grid[:, 2:].clip(0, GRID), grid[:, :2] + 1)
    order = np.lexsort((grid[:, 0], grid[:, 1]))
    return "".join(_spell(grid[i], LABELS[detections.class_id[i]]) for i in order)


def _spell(box: np.ndarray, label: str) -> str:
    x0, y0, x1, y1 = box
    return (
        f"<|object_ref_start|>{label}<|object_ref_end|>"
        f"<|box_start|>({x0},{y0}),({x1},{y1})<|box_end|>"
    )


def from_text(text: str, image_wh: tuple[int, int]) -> Parsed:
    """Reads boxes out of an answer: whole boxes only, never loose numbers.

    Corners are put in order, points outside the photo are clipped to it, boxes without area are
    malformed. A label that is none of ours (a base says "food package") is read as the first.
    """
    attempts = [match for match in _ATTEMPT.finditer(text) if _is_attempt(match)]
    kept = [(match, box) for match in attempts if (box := _corners(match)) is not None]
    xyxy = np.array([box for _, box in kept]).reshape(-1, 4) * _scale(image_wh)
    labels = [match["label"] or LABELS[0] for match, _ in kept]
    spans = [match.span() for match, _ in kept]
    return Parsed(make_detections(xyxy, labels), spans, len(attempts) - len(kept))


def _is_attempt(match: re.Match[str]) -> bool:
    several_points = match["points"] is not None and match["points"].count("(") > 1
    return bool(match["mark"] or match["unfinished"] or several_points)


def _corners(match: re.Match[str]) -> list[float] | None:
    numbers = [float(number) for number in re.findall(_NUMBER, match["points"] or "")]
    if len(numbers) != 4 or match["unfinished"]:
        return None
    x0, y0, x1, y1 = (min(max(number, 0.0), GRID) for number in numbers)
    box = [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]
    return box if box[0] < box[2] and box[1] < box[3] else None


def _scale(image_wh: tuple[int, int]) -> np.ndarray:
    return np.array([*image_wh, *image_wh]) / GRID


EXAMPLE = _spell(np.array([120, 85, 640, 910]), LABELS[0])
