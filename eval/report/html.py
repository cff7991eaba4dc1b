"""The report as one HTML file that needs nothing else: curves, photos and tables."""

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from datasets import Dataset
from PIL import Image

from eval.report.charts import charts
from eval.report.results import Report, Result, best, called
from eval.report.table import Sheet
from eval.report.tables import details, summary
from nutrition_vl.draw import annotate

SHOWN = 4  # photos of each kind
SIDE = 480  # pixels of a photo's longer side
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2026; margin: 2rem auto; max-width: 1180px;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e8eaee; }
td:first-child, th:first-child, .words td, .words th { text-align: left; }
th { color: #5a606b; font-weight: 600; }
tr.best td { font-weight: 700; background: #f2f7f3; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 1rem; }
.grid img { width: 100%; height: 300px; object-fit: contain; background: #f4f5f7; }
.charts { grid-template-columns: repeat(auto-fill, minmax(360px, 1fr)); }
.charts h2 { margin: .5rem 0; } svg, img { max-width: 100%; height: auto; }
figure { margin: 0; } figcaption { font-size: .85rem; color: #5a606b; overflow-wrap: anywhere; }
"""


def page(report: Report) -> str:
    """The HTML of a report: rows, curves, differences, photos, details."""
    results, (first, *others) = report.results, summary(report)
    marked = called(best(results), results)
    note = f"<p>Set off is {escape(marked)}, the best by F1 at IoU 0.5.</p>"
    about = f"<p>{escape(report.about)}</p>"
    parts = [about, table(first, marked), note, _charts(results), *map(table, others)]
    if report.rows is not None:
        parts += _gallery(report, report.rows)
    return document("Evaluation", [*parts, *map(table, details(report))])


def document(title: str, parts: Sequence[str]) -> str:
    """A page that stands alone."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>{''.join(parts)}</html>"
    )


def table(sheet: Sheet, marked: str | None = None) -> str:
    """A sheet with its title, the row that begins with `marked` set off."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in sheet.head)
    lines = "".join(
        f"<tr{' class=best' if row[0] == marked else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in sheet.rows
    )
    kind = " class=words" if sheet.words else ""
    return (
        f"<h2>{escape(sheet.title)}</h2>"
        f'<div class="wide"><table{kind}><tr>{head}</tr>{lines}</table></div>'
    )


def figure(photo: Image.Image, caption: str) -> str:
    """A photo, small enough for a page, over what is to be said of it."""
    small = photo.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=80)
    source = base64.b64encode(jpeg.getvalue()).decode()
    said = escape(caption)
    return (
        f'<figure><img alt="{said}" src="data:image/jpeg;base64,{source}">'
        f"<figcaption>{said}</figcaption></figure>"
    )


def gallery(figures: Sequence[str], title: str = "") -> str:
    """Figures side by side, under a title if there is one."""
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f'{heading}<div class="grid">{"".join(figures)}</div>'


def _charts(results: Sequence[Result]) -> str:
    drawn = (f"<div><h2>{escape(title)}</h2>{svg}</div>" for title, svg in charts(results).items())
    return f'<div class="grid charts">{"".join(drawn)}</div>'


def _gallery(report: Report, rows: Dataset) -> list[str]:
    """Worst, median and best photos with a table by the mean IoU of their boxes, each once."""
    row = best(report.results)
    fits = np.array([row.counts.photo_iou(index) for index in range(len(rows))])
    order = [int(index) for index in np.argsort(fits) if np.isfinite(fits[index])]
    middle = max(0, (len(order) - SHOWN) // 2)
    kinds = {
        "worst": order[:SHOWN],
        "median": order[middle : middle + SHOWN],
        "best": order[-SHOWN:][::-1],
    }
    name = called(row, report.results)
    return [
        gallery(
            [_figure(row, rows, at, fits[at]) for at in chosen],
            f"{name}, {kind} photos: truth green, found red",
        )
        for kind, chosen in kinds.items()
    ]


def _figure(row: Result, rows: Dataset, photo: int, fit: float) -> str:
    truth, found = row.answers.boxes_of(photo)
    drawn = annotate(rows[photo]["image"], found, truth)
    return figure(drawn, f"{row.answers.ids[photo]}, IoU {fit:.2f}")
