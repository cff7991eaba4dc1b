"""Writes a report: CSV, Markdown and the HTML page."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from eval.report.columns import ORIGINAL
from eval.report.console import finite
from eval.report.html import page
from eval.report.results import Report, Result
from eval.report.table import Sheet
from nutrition_vl.files import markdown_table


def write(report: Report, summary: Sequence[Sheet], details: Sequence[Sheet], folder: Path) -> None:
    """Writes checkpoints.csv, samples.csv (of the best row), report.md and report.html.

    All content is made before the first file is written.
    """
    sections = [f"# Evaluation\n\n{report.about}\n", *map(markdown, (*summary, *details))]
    files = {
        "checkpoints.csv": checkpoints(report.results),
        "samples.csv": samples(report.best),
        "report.md": "\n".join(sections),
        "report.html": page(report, summary, details),
    }
    write_all(folder, files)


def write_all(folder: Path, files: Mapping[str, str]) -> None:
    """Writes files with these contents into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8", newline="")


def checkpoints(results: Sequence[Result]) -> str:
    """One row per checkpoint: the original's six columns, then every other number of ours."""
    records = [row.record() for row in results]
    for record in records:
        for key in [key for key in record if key.endswith("_95")]:
            record[f"{key}_low"], record[f"{key}_high"] = record.pop(key)
    ours = [key for key in records[0] if key not in ORIGINAL.values()]
    return _csv(
        {head: record[key] for head, key in ORIGINAL.items()} | {key: record[key] for key in ours}
        for record in records
    )


def samples(row: Result) -> str:
    """One row per photo in the original's columns; boxes in shares of the sides, true ones y first.

    `predictions.read_samples` reads it back.
    """
    answers = row.answers
    sides = answers.shares(answers.predictions), answers.shares(answers.truth)
    return _csv(
        {
            "sample_idx": index,
            "image_id": name,
            "iou": row.counts.photo_iou(index),
            "prediction": answers.texts[index],
            "pred_boxes": json.dumps(predicted),
            "gt_boxes": json.dumps([[y0, x0, y1, x1] for x0, y0, x1, y1 in true]),
        }
        for index, (name, predicted, true) in enumerate(zip(answers.ids, *sides, strict=True))
    )


def markdown(sheet: Sheet) -> str:
    """A sheet as a Markdown section."""
    return f"## {sheet.title}\n\n{markdown_table(sheet.head, sheet.rows)}\n"


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text, (first, *rest) = StringIO(), map(finite, rows)
    writer = csv.DictWriter(text, [*first], lineterminator="\n")
    writer.writeheader()
    writer.writerows([first, *rest])
    return text.getvalue()
