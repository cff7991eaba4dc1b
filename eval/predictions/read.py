"""Reads predictions of any model: our JSON lines, COCO results, the original's table of samples.

Every reader returns `Answers`; a mistake in a file is a ValueError that names file and line.
"""

import csv
import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

from eval.predictions.coco import instances_as_lines, read_coco
from eval.predictions.fields import (
    check_boxes,
    check_count,
    check_labels,
    check_number,
    check_order,
    check_scores,
)
from eval.predictions.predictions import Answers, Prediction, Truth, join, match_id
from nutrition_vl.batch.results import Results
from nutrition_vl.boxes import LABELS, from_text
from nutrition_vl.data.classes import warn_of_others
from nutrition_vl.data.rows import read_json, read_jsonl

SAMPLE_COLUMNS = ("image_id", "prediction", "pred_boxes", "gt_boxes")
LARGEST_SHARE = 2  # models place some corners outside the photo, pixels lie far beyond
OUTSIDE = 0.1  # of a side, and of the boxes: more is a sign of pixels of another size

logger = logging.getLogger(__name__)


def read(
    file: Path,
    truths: Sequence[Truth] | None = None,
    data: str | None = None,
    split_ids: Collection[str] = (),
    split: str = "val",
    label: str | None = None,
) -> Answers:
    """The predictions in a file (.jsonl, .json or .csv) joined to the truth, named after the file.

    It may also be a folder of python -m nutrition_vl.batch. A .csv may hold its own truth; the
    others need `truths`. COCO results also need their data set: `data` and its `split` map their
    numbers to photos and labels. `label` is the class that is the nutrition table; boxes of other
    classes are left out with a warning. `split_ids` is as in `predictions.join`.
    """
    if not file.exists():
        raise FileNotFoundError(f"there is no predictions file {file}")
    if file.suffix == ".csv":
        return read_samples(file, truths, split_ids)
    if file.suffix not in (".jsonl", ".json") and not file.is_dir():
        raise ValueError(f"{file} is no predictions file: give a .jsonl, .json (COCO) or .csv")
    if truths is None:
        raise ValueError(f"{file} holds no truth: name the data set with --data and --split")
    content = read_json(file) if file.suffix == ".json" else None
    is_lines = not isinstance(content, list)
    if isinstance(content, list):
        predictions = read_coco(file, content, truths, data, split, label)
    else:
        predictions = read_lines(file, label, content)
    require_pixels(file, predictions, truths)
    answers = join(file.stem, truths, predictions, split_ids)
    return replace(answers, differs=_differs(file)) if is_lines else answers


def read_lines(file: Path, label: str | None = None, instances: Any = None) -> list[Prediction]:
    """JSON lines as `python -m nutrition_vl` and the sweep write them, boxes in pixels.

    {"id" or "photo": "a", "boxes": [{"xyxy": [...], "label": "...", "confidence": 0.9}]};
    "width", "height", "text", "malformed" and "seconds" are optional. With `label`, boxes of that
    class are nutrition tables and those of classes that are no label are left out. `instances` is
    the content of a COCO file, read as such lines.
    """
    if file.is_dir():
        rows = Results(str(file)).rows()
    else:
        rows = read_jsonl(file) if instances is None else instances_as_lines(file, instances)
    others = Counter[str]()
    if label is not None:
        rows = [_relabelled(row, label, others) for row in rows]
    warn_of_others(file, others)
    return [parse_line(row, f"{file}, entry {number}") for number, row in enumerate(rows, 1)]


def _relabelled(row: Any, label: str, others: Counter[str]) -> Any:
    """The line with our labels, without the boxes of other classes, which `others` counts."""
    boxes = row.get("boxes") if isinstance(row, dict) else None
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        return row  # `parse_line` says what is wrong with it
    names = {name: name for name in LABELS} | {label: LABELS[0]}
    named = [(box, str(box.get("label", LABELS[0]))) for box in boxes]
    others.update(name for _, name in named if name not in names)
    return row | {"boxes": [box | {"label": names[name]} for box, name in named if name in names]}


def require_pixels(file: Path, predictions: Sequence[Prediction], truths: Sequence[Truth]) -> None:
    """ValueError for boxes that are shares of the sides; a warning where many leave their photo."""
    sizes = {truth.id: (truth.width, truth.height) for truth in truths}
    pairs = [(entry, match_id(entry.photo, sizes)) for entry in predictions]
    boxes = [(box, sizes[name]) for entry, name in pairs if name for box in entry.xyxy]
    if boxes and all(max(box) <= 1 < min(size) for box, size in boxes):
        raise ValueError(f"{file}: all boxes are from 0 to 1: give pixels of the upright photo")
    reach = 1 + OUTSIDE
    beyond = sum(
        box[2] > reach * width or box[3] > reach * height for box, (width, height) in boxes
    )
    if beyond > OUTSIDE * len(boxes):
        logger.warning(
            "%s: %d of %d boxes reach out of their photo: are they in pixels of another size?",
            file, beyond, len(boxes),
        )  # fmt: skip


def parse_line(row: Any, where: str) -> Prediction:
    """The prediction in one JSON line; ValueError says where it is wrong."""
    photo = row.get("id", row.get("photo")) if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(photo, str):
        raise ValueError(f'{where}: needs an "id" or a "photo" that names the photo')
    if "error" in row:
        raise ValueError(f"{where}: that photo was not read ({row['error']}): predict it again")
    boxes = row.get("boxes")
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        raise ValueError(f'{where}: needs "boxes", a list of objects with "xyxy"')
    text = str(row.get("text", ""))
    malformed = row["malformed"] if "malformed" in row else from_text(text, (1, 1)).malformed
    sides = [check_number(row[side], where) for side in ("width", "height") if side in row]
    return Prediction(
        photo=photo,
        xyxy=check_order(check_boxes([box.get("xyxy") for box in boxes], where), where),
        labels=check_labels([box.get("label", LABELS[0]) for box in boxes], where),
        confidence=check_scores([box.get("confidence", 1.0) for box in boxes], where),
        where=where,
        malformed=check_count(malformed, where),
        seconds=check_number(row.get("seconds", nan), where),
        size=(sides[0], sides[1]) if len(sides) == 2 else None,
        text=text,
    )


def _differs(file: Path) -> tuple[str, ...]:
    """Settings that differ from the checkpoint's card, from the sweep's provenance file."""
    try:
        provenance = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none, or another file of that name
        return ()
    return tuple(provenance.get("differs", ())) if isinstance(provenance, dict) else ()


def read_samples(
    file: Path, truths: Sequence[Truth] | None = None, split_ids: Collection[str] = ()
) -> Answers:
    """The original notebook's table: one row per photo, truth included, boxes in shares of sides.

    `pred_boxes` are [x_min, y_min, x_max, y_max] but `gt_boxes` [y_min, x_min, y_max, x_max];
    `prediction` is the model's text. Labels are not compared: the table has none for the truth.
    `truths`, where given, replace the truth in the table.
    """
    rows = _rows(file)
    for where, row in rows:
        if not row["image_id"] or None in row or None in row.values():
            raise ValueError(f"{where}: has more or fewer cells than the header, or no image_id")
    if not rows:
        raise ValueError(f"{file} has no row below its header: there is nothing to score")
    own = [_sample_truth(row, where) for where, row in rows]
    by_id = {truth.id: truth for truth in truths or own}
    predictions = [_in_pixels(_sample_prediction(row, where), by_id) for where, row in rows]
    return join(file.stem, [*by_id.values()], predictions, split_ids)


def _rows(file: Path) -> list[tuple[str, dict[str, str]]]:
    """The rows of the table, each with the number of its last line."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            if missing := set(SAMPLE_COLUMNS) - set(reader.fieldnames or ()):
                raise ValueError(f"{file} lacks the column {', '.join(sorted(missing))}")
            return [(f"{file}, line {reader.line_num}", row) for row in reader]
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text: {error.reason}") from error
        except csv.Error as error:
            raise ValueError(f"{file}, after line {reader.line_num}: no CSV ({error})") from error


def _sample_truth(row: Mapping[str, str], where: str) -> Truth:
    yxyx = _shares(row, "gt_boxes", where)
    boxes = [[x0, y0, x1, y1] for y0, x0, y1, x1 in yxyx]
    return Truth(row["image_id"], 1, 1, boxes, [LABELS[0]] * len(boxes))


def _sample_prediction(row: Mapping[str, str], where: str) -> Prediction:
    boxes = _shares(row, "pred_boxes", where)
    return Prediction(
        photo=row["image_id"],
        xyxy=boxes,
        labels=[LABELS[0]] * len(boxes),
        confidence=[1.0] * len(boxes),
        where=where,
        malformed=from_text(row["prediction"], (1, 1)).malformed,
        text=row["prediction"],
    )


def _in_pixels(entry: Prediction, truths: Mapping[str, Truth]) -> Prediction:
    """Scales boxes from shares of the sides to the units of the truth; unknown photos stay."""
    name = match_id(entry.photo, truths)
    if name is None:
        return entry
    scale = (truths[name].width, truths[name].height) * 2
    boxes = [[share * side for share, side in zip(box, scale, strict=True)] for box in entry.xyxy]
    return replace(entry, xyxy=boxes)


def _shares(row: Mapping[str, str], column: str, where: str) -> list[list[float]]:
    try:
        boxes = check_boxes(json.loads(row[column] or "[]"), where)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: {column} is not a JSON list of boxes") from error
    if any(abs(number) > LARGEST_SHARE for box in boxes for number in box):
        raise ValueError(f"{where}: {column} must be in shares of the sides, not in pixels")
    return boxes
