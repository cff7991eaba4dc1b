"""Counts the labels of a split and draws a contact sheet, so that a person can check both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image, ImageDraw, ImageFont

from nutrition_vl.boxes import LABELS, to_text
from nutrition_vl.data.load import truth
from nutrition_vl.data.rows import Skipped, attempt, summary

SHEET = "labels.jpg"
PHOTOS, COLUMNS = 12, 4
TILE, GAP, LINE = 360, 24, 22  # pixels: a photo's square, the space around it, a line of text
PAPER, FRAME, INK, FAINT = "#f7f6f2", "#e4e2db", "#22211f", "#8a867c"
COLOURS = ("#0b8a3e", "#d9480f", "#1c5fd4", "#9c36b5")  # of LABELS, in their order
EXAMPLES = 3  # photos whose trained words are printed


def count(rows: Dataset) -> list[str]:
    """Two lines: photos with and without a table, boxes by label."""
    boxes = [len(xyxy) for xyxy in rows["xyxy"]]
    labels = Counter(name for names in rows["label"] for name in names)
    counted = ", ".join(f"{number} {name}" for name, number in labels.most_common()) or "none"
    without = boxes.count(0)
    first = f"{len(boxes)} photos: {len(boxes) - without} with a table, {without} without"
    return [first, f"{sum(boxes)} boxes: {counted}"]


def reasons(skipped: Sequence[Skipped]) -> list[str]:
    """At most eleven lines: the number of skipped entries, and why."""
    return [f"{len(skipped)} skipped", *(f"  {line}" for line in summary([*skipped]))]


def trained_words(rows: Dataset, number: int = EXAMPLES) -> list[str]:
    """The answers that the first photos train, as `id: text`."""
    facts = rows.remove_columns("image").select(range(min(number, len(rows))))
    return [f"{row['id']}: {_words(row)!r}" for row in facts]


def draw_contact_sheet(
    rows: Dataset, file: Path, title: str, skipped: list[Skipped] | None = None
) -> None:
    """Writes a JPEG of twelve photos from all parts of the split with their boxes drawn.

    With a list `skipped`, photos that cannot be opened are put there instead.
    """
    ids = rows["id"]
    opened = [attempt(skipped, ids[at], rows.__getitem__, at) for at in choose(rows["xyxy"])]
    chosen = [row for row in opened if row]
    across, down = min(COLUMNS, len(chosen)), -(-len(chosen) // COLUMNS)
    step = TILE + GAP, TILE + 3 * LINE + GAP
    head = 3 * LINE + GAP
    sheet = Image.new("RGB", (max(2, across) * step[0] + GAP, down * step[1] + head), PAPER)
    _write_head(ImageDraw.Draw(sheet), rows, title)
    for place, row in enumerate(chosen):
        at = GAP + place % COLUMNS * step[0], head + place // COLUMNS * step[1]
        _draw_tile(sheet, row, at)
    sheet.save(file, "JPEG", quality=88)


def choose(boxes: Sequence[Sequence]) -> list[int]:
    """Indices of at most twelve photos, evenly spread; without a table in the split's proportion.

    At least one of each kind, where there is one.
    """
    kinds = [[at for at, own in enumerate(boxes) if bool(own) == kind] for kind in (True, False)]
    bare = round(PHOTOS * len(kinds[1]) / max(1, len(boxes)))
    bare = min(len(kinds[1]), max(bare, 1, PHOTOS - len(kinds[0])), PHOTOS - bool(kinds[0]))
    counts = min(PHOTOS - bare, len(kinds[0])), bare
    spread = [_spread(kind, count) for kind, count in zip(kinds, counts, strict=True)]
    return sorted(spread[0] + spread[1])


def _spread(items: Sequence[int], count: int) -> list[int]:
    return [items[int((place + 0.5) * len(items) / count)] for place in range(count)]


def _words(row: Mapping) -> str:
    return to_text(truth(row), (row["width"], row["height"]))


def _write_head(pen: ImageDraw.ImageDraw, rows: Dataset, title: str) -> None:
    pen.text((GAP, GAP), title, INK, _font(20))
    at = GAP
    for label, colour in zip(LABELS, COLOURS, strict=True):
        count = sum(names.count(label) for names in rows["label"])
        if count:
            pen.rectangle((at, GAP + 36, at + 12, GAP + 48), colour)
            text = f"{count} {label}"
            pen.text((at + 18, GAP + 33), text, FAINT, _font(14))
            at += 18 + int(pen.textlength(text, _font(14))) + GAP
    without = sum(not boxes for boxes in rows["xyxy"])
    pen.text((at, GAP + 33), f"{len(rows)} photos, {without} without a table", FAINT, _font(14))


def _draw_tile(sheet: Image.Image, row: Mapping, at: tuple[int, int]) -> None:
    """One photo in its square, its boxes, its id and the words it trains."""
    pen = ImageDraw.Draw(sheet)
    scale = TILE / max(row["width"], row["height"])
    size = max(1, round(row["width"] * scale)), max(1, round(row["height"] * scale))
    left, top = at[0] + (TILE - size[0]) // 2, at[1] + (TILE - size[1]) // 2
    pen.rectangle((*at, at[0] + TILE, at[1] + TILE), FRAME)
    sheet.paste(row["image"].resize(size, Image.Resampling.LANCZOS, reducing_gap=3), (left, top))
    for box, label in zip(row["xyxy"], row["label"], strict=True):
        x0, y0, x1, y1 = np.rint(np.multiply(box, scale) + (left, top) * 2).astype(int)
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="white", width=5)
        pen.rectangle((x0, y0, x1, y1), outline=COLOURS[LABELS.index(label)], width=3)
    below = at[1] + TILE + 6
    pen.text((at[0], below), _cut(pen, row["id"], 15), INK, _font(15))
    points = " ".join(_points(row)) or "no table"
    pen.text((at[0], below + LINE), _cut(pen, points, 13), FAINT, _font(13))


def _points(row: Mapping) -> list[str]:
    """The numbers of each box as the answer writes them, `(120,85),(640,910)`."""
    return [part for part in _words(row).replace("<", ">").split(">") if part.startswith("(")]


def _cut(pen: ImageDraw.ImageDraw, text: str, size: int) -> str:
    text = " ".join(text.split())  # a file's name may hold line breaks, which have no length
    while pen.textlength(text, _font(size)) > TILE:
        text = text[:-2].rstrip("…") + "…"
    return text


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
