"""Draws answers as HTML: the photo with boxes, scores at the boxes, a line below."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from nutrition_vl.matching import iou

LONGEST_SIDE = 1280  # pixels of the picture on the page; boxes keep the photo's own pixels
Record = dict[str, Any]


def data_url(photo: Image.Image, longest: int = LONGEST_SIDE) -> str:
    """A JPEG of the photo, its long side at most `longest` pixels, as a data URL."""
    small = photo.copy()
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figures(
    picture: str,
    size: tuple[int, int],
    answers: dict[str, Record],
    truth: Sequence[Sequence[float]] | None = None,
) -> str:
    """One figure per answer, by its title; the photo is sent once and drawn in each."""
    parts = [
        figure(picture if number == 0 else "", size, title, answer, truth)
        for number, (title, answer) in enumerate(answers.items())
    ]
    return f'<div class="figures">{"".join(parts)}</div>'


def figure(
    picture: str,
    size: tuple[int, int],
    title: str,
    answer: Record,
    truth: Sequence[Sequence[float]] | None = None,
) -> str:
    """The photo with an answer's boxes; without `picture` that of the first figure."""
    width, height = size
    image = f'<image id="photo" href="{picture}" width="{width}" height="{height}"/>'
    if not picture:
        image = '<use href="#photo"/>'
    true = "".join(_rectangle(box, "truth", size) for box in truth or [])
    boxes = "".join(_box(box, size) for box in answer["boxes"])
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"{image}{true}{boxes}</svg>"
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def with_boxes(picture: Image.Image, answer: Record) -> Image.Image:
    """A small picture of a photo with the answer's boxes drawn on it."""
    picture = picture.convert("RGB")
    pen = ImageDraw.Draw(picture)
    scale = picture.width / answer["width"]
    for box in answer["boxes"]:
        pen.rectangle([edge * scale for edge in box["xyxy"]], outline="#e6194b", width=3)
    return picture


def problem(text: str) -> str:
    """An error where the result would be."""
    return f'<p class="problem">{escape(text)}</p>'


def escape(text: str) -> str:
    """The text for HTML and for Gradio's own templates, which read `${}` and `{{}}`."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;")


def tables(count: int) -> str:
    """The number of tables in words."""
    return f"{count} table{'s' * (count > 1)}" if count else "No nutrition table"


def agreement(answer: Record, truth: Sequence[Sequence[float]]) -> str:
    """The mean over the true boxes of the IoU with the best box, in words; "" without truth."""
    if not truth:
        return ""
    boxes = np.array([box["xyxy"] for box in answer["boxes"]]).reshape(-1, 4)
    overlaps = iou(np.array(truth, dtype=float).reshape(-1, 4), boxes)
    best = overlaps.max(axis=1) if len(boxes) else np.zeros(len(truth))
    return f", IoU {best.mean():.2f}"


def _box(box: Record, size: tuple[int, int]) -> str:
    x0, y0, *_ = box["xyxy"]
    font = max(size) / 32
    text = f"{box['confidence']:.2f}"
    top = max(0.0, y0 - 1.3 * font)
    ground = f'<rect class="score-ground" x="{x0}" y="{top:.1f}" width="{2.4 * font:.1f}" '
    return (
        _rectangle(box["xyxy"], "box", size)
        + f'{ground}height="{1.3 * font:.1f}"/><text class="score" x="{x0 + 0.2 * font:.1f}" '
        + f'y="{top + font:.1f}" font-size="{font:.1f}">{text}</text>'
    )


def _rectangle(xyxy: Sequence[float], name: str, size: tuple[int, int]) -> str:
    x0, y0, x1, y1 = xyxy
    return (
        f'<rect class="{name}" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" '
        f'height="{y1 - y0:.1f}" stroke-width="{max(2, max(size) / 250):.1f}"/>'
    )
