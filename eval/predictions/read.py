"""Reads predictions of any model: our JSON lines, COCO results, the original's table of samples.

Every reader ends in `Answers`; a mistake in a file is a ValueError that names file and line.
"""

import csv
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

from eval.predictions.coco import read_coco
from eval.predictions.fields import a_number, corners, known_labels, scores
from eval.predictions.predictions import Answers, Found, Truth, join, photo_named
from nutrition_vl.boxes import LABELS, from_text
from nutrition_vl.data.rows import read_jsonl

SAMPLE_COLUMNS = ("image_id", "prediction", "pred_boxes", "gt_boxes")


def read(
    file: Path,
    truths: Sequence[Truth] | None = None,
    data: str | None = None,
    whole: Collection[str] = (),
) -> Answers:
    """The predictions in a file (.jsonl, .json or .csv) beside the truth, named after the file.

    A .csv may bring its own truth; the others need `truths`, COCO results also the
    `data` they are about: if that is COCO, it says what their numbers stand for.
    `whole` is as in `answers.join`.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no predictions file {file}")
    if file.suffix == ".csv":
        return read_samples(file, truths, whole)
    if file.suffix not in (".jsonl", ".json"):
        raise ValueError(f"{file} is no predictions file: give a .jsonl, .json (COCO) or .csv")
    if truths is None:
        raise ValueError(f"{file} holds no truth: name the data set with --data and --split")
    if file.suffix == ".jsonl":
        found = join(file.stem, truths, read_lines(file), whole)
        return replace(found, differs=_differs(file))
    return join(file.stem, truths, read_coco(file, truths, data), whole)


def read_lines(file: Path) -> list[Found]:
    """JSON lines as `python -m nutrition_vl` and the sweep write them, boxes in pixels.

    {"id" or "photo": "a", "boxes": [{"xyxy": [...], "label": "...", "confidence": 0.9}]}, and
    perhaps "width", "height", "text", "malformed" and "seconds".
    """
    return [
        line_found(row, f"{file}, entry {number}") for number, row in enumerate(read_jsonl(file), 1)
    ]


def line_found(row: Any, where: str) -> Found:
    """One JSON line; ValueError says what is wrong with it."""
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
    sides = [a_number(row[side], where) for side in ("width", "height") if side in row]
    return Found(
        photo=photo,
        xyxy=corners([box.get("xyxy") for box in boxes], where),
        labels=known_labels([box.get("label", LABELS[0]) for box in boxes], where),
        confidence=scores([box.get("confidence", 1.0) for box in boxes], where),
        where=where,
        malformed=int(a_number(malformed, where)),
        seconds=a_number(row.get("seconds", nan), where),
        size=(sides[0], sides[1]) if len(sides) == 2 else None,
        text=text,
    )


def _differs(file: Path) -> tuple[str, ...]:
    """How the model was asked otherwise than trained, which the sweep notes beside its files."""
    try:
        found = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # no note, or a file of that name that is none
        return ()
    return tuple(found.get("differs", ())) if isinstance(found, dict) else ()


def read_samples(
    file: Path, truths: Sequence[Truth] | None = None, whole: Collection[str] = ()
) -> Answers:
    """The original notebook's table: a row a photo, truth inside, all boxes in shares of the sides.

    `pred_boxes` are [x_min, y_min, x_max, y_max] but `gt_boxes` [y_min, x_min, y_max, x_max];
    `prediction` is the model's text. Labels are not compared: the table has none for the truth.
    Where there are `truths`, they hold, and not those inside.
    """
    rows = _rows(file)
    for where, row in rows:
        if not row["image_id"] or None in row or None in row.values():
            raise ValueError(f"{where}: has more or fewer cells than the header, or no image_id")
    if not rows:
        raise ValueError(f"{file} has no row below its header: there is nothing to score")
    inside = [_sample_truth(row, where) for where, row in rows]
    known = {truth.id: truth for truth in truths or inside}
    found = [_in_pixels(_sample_found(row, where), known) for where, row in rows]
    return join(file.stem, [*known.values()], found, whole)


def _rows(file: Path) -> list[tuple[str, dict[str, str]]]:
    """The rows of the table, each with the line that it ends on."""
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
    turned = corners(_cell(row, "gt_boxes", where), where)
    boxes = [[x0, y0, x1, y1] for y0, x0, y1, x1 in turned]
    return Truth(row["image_id"], 1, 1, boxes, [LABELS[0]] * len(boxes))


def _sample_found(row: Mapping[str, str], where: str) -> Found:
    boxes = corners(_cell(row, "pred_boxes", where), where)
    return Found(
        photo=row["image_id"],
        xyxy=boxes,
        labels=[LABELS[0]] * len(boxes),
        confidence=[1.0] * len(boxes),
        where=where,
        malformed=from_text(row["prediction"], (1, 1)).malformed,
        text=row["prediction"],
    )


def _in_pixels(entry: Found, known: Mapping[str, Truth]) -> Found:
    """The boxes, in shares of the sides, in the units of the truth; `join` sorts out the others."""
    name = photo_named(entry.photo, known)
    if name is None:
        return entry
    scale = (known[name].width, known[name].height) * 2
    boxes = [[share * side for share, side in zip(box, scale, strict=True)] for box in entry.xyxy]
    return replace(entry, xyxy=boxes)


def _cell(row: Mapping[str, str], column: str, where: str) -> Any:
    try:
        return json.loads(row[column] or "[]")
    except ValueError as error:
        raise ValueError(f"{where}: {column} is not a JSON list of boxes") from error
