"""Writes results down: a table on screen, a line of JSON, CSV and Markdown, and the HTML page."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from rich import box
from rich.console import Console
from rich.table import Table

from eval.evaluate import Result, best, called, differences
from eval.pages import page
from eval.tables import Sheet, details, summary

ORIGINAL = {
    "checkpoint": "name",
    "checkpoint_step": "step",
    "mean_gt_iou": "mean_iou",
    "precision@0.5": "precision@0.5",
    "recall@0.5": "recall@0.5",
    "f1@0.5": "f1@0.5",
}


def show(results: Sequence[Result]) -> None:
    """Prints the rows and their differences as tables."""
    console = Console()
    if not console.is_terminal:
        console.width = 160  # into a file or a pipe, where nothing need be squeezed
    for sheet in summary(results):
        table = Table(title=sheet.title, box=box.SIMPLE)
        for heading in sheet.head:
            left = heading == sheet.head[0]
            table.add_column(heading, justify="left" if left else "right", overflow="fold")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def line(results: Sequence[Result]) -> str:
    """Everything as one line of JSON; what is unknown is null."""
    found = {
        "best": called(best(results), results),
        "results": [row.record() for row in results],
        "differences": [entry.record() for entry in differences(results)],
    }
    return json.dumps(_known(found))


def write(results: Sequence[Result], rows: Dataset | None, folder: Path) -> None:
    """Puts checkpoints.csv, samples.csv (of the best row), report.md and report.html there.

    `rows` has the photos for the gallery. All is made before the first file is written.
    """
    sheets = [*summary(results), *details(results)]
    files = {
        "checkpoints.csv": checkpoints(results),
        "samples.csv": samples(best(results)),
        "report.md": "\n".join(markdown(sheet) for sheet in sheets),
        "report.html": page(results, sheets, rows),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8", newline="")


def checkpoints(results: Sequence[Result]) -> str:
    """A row a checkpoint: the original's six columns, then every other number of ours."""
    records = [row.record() for row in results]
    for record in records:
        for key in [key for key in record if key.endswith("_95")]:
            record[f"{key}_low"], record[f"{key}_high"] = record.pop(key)
    ours = [key for key in records[0] if key not in ORIGINAL.values()]
    named = [
        {head: record[key] for head, key in ORIGINAL.items()} | {key: record[key] for key in ours}
        for record in records
    ]
    return _csv([*ORIGINAL, *ours], [_known(row) for row in named])


def samples(row: Result) -> str:
    """A row a photo in the original's columns, boxes in shares of the sides, `gt_boxes` y first.

    `predictions.read_samples` reads it back.
    """
    answers = row.answers
    found = [
        {
            "sample_idx": index,
            "image_id": name,
            "iou": row.counts.photo_iou(index),
            "prediction": answers.texts[index],
            "pred_boxes": _shares(answers.found, index, answers.sizes, [0, 1, 2, 3]),
            "gt_boxes": _shares(answers.truth, index, answers.sizes, [1, 0, 3, 2]),
        }
        for index, name in enumerate(answers.ids)
    ]
    return _csv(list(found[0]), [_known(entry) for entry in found])


def markdown(sheet: Sheet) -> str:
    """A sheet as a Markdown section."""
    rows = [sheet.head, ["---", *["---:"] * (len(sheet.head) - 1)], *sheet.rows]
    return "\n".join([f"## {sheet.title}\n", *("| " + " | ".join(row) + " |" for row in rows), ""])


def _shares(boxes: Any, photo: int, sizes: np.ndarray, order: list[int]) -> str:
    inside = boxes.xyxy[boxes.data["photo"] == photo] / np.tile(sizes[photo], 2)
    return json.dumps(inside[:, order].round(6).tolist())


def _csv(head: list[str], rows: list[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_known(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value
