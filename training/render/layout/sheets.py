"""Setting lines of type into blocks: the few strokes that every panel and face is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

from PIL import Image, ImageDraw

from training.render.layout.colours import RGB
from training.render.layout.fonts import Typeface

HAIR = 0.02  # em; the thinnest rule there is
UNSPACED = "\u0e00"  # from Thai onwards words stand without spaces


@dataclass(frozen=True)
class Pen:
    """How a block looks: typeface, colours and the habits of its designer (sizes in pixels)."""

    face: Typeface
    size: float = 11.0
    ink: RGB = (0, 0, 0)
    paper: RGB | None = (255, 255, 255)  # None: the pack shows through
    accent: RGB = (0, 0, 0)  # ground of header rows; their text takes `accent_ink`
    accent_ink: RGB = (255, 255, 255)
    tint: RGB = (225, 225, 225)  # ground of zebra rows
    leading: float = 1.2
    hairline: int = 1
    grid: bool = False
    dotted: bool = False  # hairlines as rows of dots
    frame: int = 1
    radius: int = 0
    rtl: bool = False
    stretch: float = 1.0  # width of a table over the least width that holds it


@dataclass(frozen=True)
class Line:
    """One row: a single cell spans the block, several go left (the first) and right.

    Text between backticks is bold.  `rule` is the thickness in em of the rule below (0: none,
    a hairline at least otherwise), `ground` is "", "tint" or "accent".
    """

    cells: tuple[str, ...]
    bold: bool = False
    scale: float = 1.0
    indent: float = 0.0
    rule: float = 0.0
    align: str = "l"
    ground: str = ""
    fit: bool = False  # a headline: grown or shrunk to the width of the block


def pieces(text: str, pen: Pen, bold: bool) -> Iterator[tuple[Typeface, str, bool]]:
    """`text` as (typeface, run, bold), in the order in which it is drawn from the left."""
    for number, part in enumerate(text.split("`")):
        runs = pen.face.runs(part)
        for face, run in reversed(runs) if pen.rtl else runs:
            if run:
                yield face, run, bold or number % 2 == 1


@lru_cache(maxsize=1 << 16)
def _advance(face: Typeface, size: int, bold: bool, run: str) -> float:
    return face.font(size, bold).getlength(run)


def measure(text: str, pen: Pen, size: float, bold: bool = False) -> float:
    """The advance of `text` in pixels."""
    return sum(_advance(f, round(size), b, run) for f, run, b in pieces(text, pen, bold))


@lru_cache(maxsize=1 << 14)
def _glyphs(face: Typeface, size: int, bold: bool, run: str) -> tuple[Image.Image, int, int]:
    """The run's coverage (mode L) and where its corner lies from the origin on the baseline.

    The room is that of the advance, with margins for overhanging letters: asking FreeType for the
    exact bounds would lay every run out once more, a seventh of a face's time.
    """
    side, top = size // 2 + 1, size + size // 2
    room = (ceil(_advance(face, size, bold, run)) + 2 * side, top + size * 3 // 4)
    mask = Image.new("L", room)
    ImageDraw.Draw(mask).text((side, top), run, 255, face.font(size, bold), anchor="ls")
    return mask, -side, -top


def write(
    image: Image.Image, x: float, y: float, text: str, pen: Pen, size: float, ink: RGB | int,
    bold: bool = False, align: str = "l",
) -> None:  # fmt: skip
    """Draw `text` on the baseline `y`; `align` says whether x is its left, middle or right.

    Runs come from a cache: names and numbers recur, and FreeType takes half the time of a face.
    """
    if align != "l":
        x -= measure(text, pen, size, bold) * (0.5 if align == "m" else 1.0)
    for face, run, strong in pieces(text, pen, bold):
        mask, left, top = _glyphs(face, round(size), strong, run)
        image.paste(ink, (round(x) + left, round(y) + top), mask)
        x += _advance(face, round(size), strong, run)


def wrapped(text: str, pen: Pen, size: float, width: float, bold: bool = False) -> list[str]:
    """`text` cut into lines no wider than `width` pixels; between letters in unspaced scripts."""
    if measure(text, pen, size, bold) <= width:
        return [text]
    sparse = sum(letter >= UNSPACED for letter in text) * 2 > len(text)
    words, glue = (list(text), "") if sparse else (text.split(), " ")
    space = measure(" ", pen, size, bold) if glue else 0.0
    lines: list[list[str]] = [[]]
    used, strong = 0.0, False
    for word in words:
        advance = measure("`" + word if strong else word, pen, size, bold)
        strong ^= word.count("`") % 2 == 1
        if lines[-1] and used + advance > width:
            lines.append([])
            used = 0.0
        lines[-1].append(word)
        used += advance + space
    return _closed([glue.join(line) for line in lines])


def _closed(lines: list[str]) -> list[str]:
    """The same lines, each opening and closing its own bold stretches."""
    bold, out = False, []
    for line in lines:
        text = "`" + line if bold else line
        bold = text.count("`") % 2 == 1
        out.append(text + "`" if bold else text)
    return out


def block(lines: Sequence[Line], pen: Pen, width: float | None = None) -> Image.Image:
    """The lines set below each other on transparent ground, RGBA, `width` or as wide as needed."""
    columns = _columns(lines, pen)
    if width is None:
        width = max(sum(columns) * pen.stretch, pen.size * 6)
    rows = [row for line in lines for row in _broken(line, pen, width)]
    heights = [round(row.scale * pen.size * pen.leading) + _rule(row, pen) for row in rows]
    image = Image.new("RGBA", (round(width), max(1, sum(heights))), (*pen.ink, 0))
    y = 0
    for row, height in zip(rows, heights, strict=True):
        _draw(image, row, pen, columns, round(width), y, height)
        y += height
    if pen.grid and len(columns) > 1:
        _verticals(ImageDraw.Draw(image), rows, heights, pen, columns, round(width))
    return image


def _columns(lines: Sequence[Line], pen: Pen) -> list[float]:
    """The least width of each column, gaps included."""
    full = [line for line in lines if len(line.cells) > 1]
    count = max((len(line.cells) for line in full), default=0)
    widths = [0.0] * count
    for line in full:
        sizes = [measure(cell, pen, line.scale * pen.size, line.bold) for cell in line.cells]
        offset = count - len(sizes)
        for i, size in enumerate(sizes):
            slot = 0 if i == 0 else i + offset
            gap = line.indent * pen.size if i == 0 else pen.size * 0.9
            if i == 0 and offset:  # a short row may run under the columns it leaves out
                continue
            widths[slot] = max(widths[slot], size + gap)
    return widths


def _broken(line: Line, pen: Pen, width: float) -> list[Line]:
    if len(line.cells) > 1:
        return [line]
    size, room = line.scale * pen.size, width - (line.indent + 0.4) * pen.size
    text = line.cells[0]
    if line.fit:
        scale = line.scale * 0.96 * room / max(measure(text, pen, size, line.bold), 1.0)
        return [replace(line, scale=min(max(scale, 0.7), 3.2))]
    parts = wrapped(text, pen, size, room, line.bold)
    last = len(parts) - 1
    return [
        replace(line, cells=(p,), rule=line.rule if i == last else 0) for i, p in enumerate(parts)
    ]


def _rule(row: Line, pen: Pen) -> int:
    return max(pen.hairline, round(row.rule * pen.size)) if row.rule else 0


def _draw(
    image: Image.Image, row: Line, pen: Pen, columns: list[float], width: int, y: int,
    height: int,
) -> None:  # fmt: skip
    draw, rule, size = ImageDraw.Draw(image), _rule(row, pen), row.scale * pen.size
    ink = pen.accent_ink if row.ground == "accent" else pen.ink
    if row.ground:
        fill = pen.accent if row.ground == "accent" else pen.tint
        draw.rectangle((0, y, width, y + height - 1), fill=fill)
    baseline = y + (height - rule) * 0.5 + size * 0.34
    side = pen.size * 0.2
    left = side + row.indent * pen.size
    if len(row.cells) == 1:
        x = {"l": left, "m": width / 2, "r": width - side}[row.align]
        flip = pen.rtl and row.align != "m"
        align = {"l": "r", "r": "l"}[row.align] if flip else row.align
        x = width - x if flip else x
        write(image, x, baseline, row.cells[0], pen, size, ink, row.bold, align)
    else:
        rights = edges(columns, width)[-len(row.cells) :]
        for i, cell in enumerate(row.cells):
            x = left if i == 0 else rights[i] - side
            align = "l" if (i == 0) != pen.rtl else "r"
            x = width - x if pen.rtl else x
            write(image, x, baseline, cell, pen, size, ink, row.bold, align)
    if rule == pen.hairline and pen.dotted:
        draw.point([(x, y + height - 1) for x in range(0, width, 3)], fill=pen.ink)
    elif rule:
        draw.rectangle((0, y + height - rule, width, y + height - 1), fill=pen.ink)


def edges(columns: list[float], width: float) -> list[float]:
    """The right edge of each column once the spare width is shared out (the first takes half)."""
    spare = max(0.0, width - sum(columns))
    share = spare * 0.5 / max(1, len(columns) - 1)
    out, x = [], 0.0
    for number, column in enumerate(columns):
        x += column + (spare * 0.5 if number == 0 else share)
        out.append(x)
    return out


def _verticals(
    draw: ImageDraw.ImageDraw, rows: list[Line], heights: list[int], pen: Pen,
    columns: list[float], width: int,
) -> None:  # fmt: skip
    y = 0
    for row, height in zip(rows, heights, strict=True):
        if len(row.cells) > 1:
            for x in edges(columns, width)[-len(row.cells) : -1]:
                at = width - x if pen.rtl else x
                draw.line((at, y, at, y + height - 1), fill=pen.ink, width=pen.hairline)
        y += height
