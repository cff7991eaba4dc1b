"""Writes results down: CSV, Markdown and the HTML page."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from eval.report.console import known
from eval.report.html import page
from eval.report.results import Report, Result, best
from eval.report.table import Sheet
from eval.report.tables import details, summary

ORIGINAL = {
    "checkpoint": "name",
    "checkpoint_step": "step",
    "mean_gt_iou": "mean_iou",
    "precision@0.5": "precision@0.5",
    "recall@0.5": "recall@0.5",
    "f1@0.5": "f1@0.5",
}


def write(report: Report, folder: Path) -> None:
    """Puts checkpoints.csv, samples.csv (of the best row), report.md and report.html there.

    All is made before the first file is written.
    """
    results, sheets = report.results, [*summary(report), *details(report)]
    files = {
        "checkpoints.csv": checkpoints(results),
        "samples.csv": samples(best(results)),
        "report.md": "\n".join([f"# Evaluation\n\n{report.about}\n", *map(markdown, sheets)]),
        "report.html": page(report),
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
    return _csv([*ORIGINAL, *ours], [known(row) for row in named])


def samples(row: Result) -> str:
    """A row a photo in the original's columns, boxes in shares of the sides, `gt_boxes` y first.

    `predictions.read_samples` reads it back.
    """
    answers = row.answers
    sides = answers.shares(answers.predictions), answers.shares(answers.truth)
    found = [
        {
            "sample_idx": index,
            "image_id": name,
            "iou": row.counts.photo_iou(index),
            "prediction": answers.texts[index],
            "pred_boxes": json.dumps(told),
            "gt_boxes": json.dumps([[y0, x0, y1, x1] for x0, y0, x1, y1 in true]),
        }
        for index, (name, told, true) in enumerate(zip(answers.ids, *sides, strict=True))
    ]
    return _csv(list(found[0]), [known(entry) for entry in found])


def markdown(sheet: Sheet) -> str:
    """A sheet as a Markdown section."""
    rows = [sheet.head, ["---", *["---:"] * (len(sheet.head) - 1)], *sheet.rows]
    return "\n".join([f"## {sheet.title}\n", *("| " + " | ".join(row) + " |" for row in rows), ""])


def _csv(head: list[str], rows: list[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
