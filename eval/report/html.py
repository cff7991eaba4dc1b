"""The report as one HTML file that needs no other: tables, curves and photos."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from eval.report.charts import charts
from eval.report.results import Report
from eval.report.table import Sheet
from nutrition_vl.draw import annotate

TEMPLATE = "page.html.jinja"
SHOWN = 4  # photos of each kind
SIDE = 480  # pixels of a photo's longer side
Section = dict[str, Any]  # any of title, text, sheet (and its best row), charts, photos
Picture = tuple[str, str]  # its data as an address, its caption


def page(report: Report, summary: Sequence[Sheet], details: Sequence[Sheet]) -> str:
    """The HTML of a report: rows, curves, differences, photos, details."""
    (first, *others), best = summary, report.name(report.best)
    note = f"Set off is {best}, the best by F1 at IoU 0.5."
    return render(
        "Evaluation",
        [
            {"text": report.about},
            {"sheet": first, "best": best},
            {"text": note, "charts": charts(report)},
            *({"sheet": sheet} for sheet in others),
            *_galleries(report),
            *({"sheet": sheet} for sheet in details),
        ],
    )


def render(title: str, sections: Sequence[Section]) -> str:
    """A page of these sections, with everything inside it."""
    folder = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return template.get_template(TEMPLATE).render(title=title, sections=sections)


def picture(photo: Image.Image, caption: str) -> Picture:
    """A photo as a small JPEG for a page, with its caption."""
    small = photo.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}", caption


def _galleries(report: Report) -> list[Section]:
    """The best row's worst, median and best photos with a table, by the mean IoU of their boxes."""
    if report.rows is None:
        return []
    row, name, photos = report.best, report.name(report.best), report.rows
    ious = np.array([row.counts.photo_iou(index) for index in range(len(photos))])
    order = [int(index) for index in np.argsort(ious) if np.isfinite(ious[index])]
    middle = max(0, (len(order) - SHOWN) // 2)
    kinds = {
        "worst": order[:SHOWN],
        "median": order[middle : middle + SHOWN],
        "best": order[-SHOWN:][::-1],
    }

    def annotated(index: int) -> Picture:
        truth, predictions = row.answers.boxes_of(index)
        photo = annotate(photos[index]["image"], predictions, truth)
        return picture(photo, f"{row.answers.ids[index]}, IoU {ious[index]:.2f}")

    return [
        {
            "title": f"{name}, {kind} photos: truth green, predictions red",
            "photos": [annotated(index) for index in indices],
        }
        for kind, indices in kinds.items()
    ]
