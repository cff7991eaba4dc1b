"""Backs of packs as Europe prints them: columns of small type, and the table set among it in the
same type on the same ground, often in several languages.

A detector that has only seen tables on paper of their own takes any such column for one.
"""

from dataclasses import replace
from itertools import pairwise

from PIL import Image, ImageDraw

from training.render.layout.colours import mixed
from training.render.layout.dice import Rng, chance, pick, weighted
from training.render.layout.fonts import typefaces
from training.render.layout.panels import Style, language_of, layouts, panel
from training.render.layout.sheets import Pen, measure, wrapped, write
from training.render.layout.words import LANGUAGES, Language
from training.render.package import blocks, forms, signs
from training.render.package.blocks import Look
from training.render.package.proofs import GAP, Block, Box, Proof, Table, fit

EXTRAS: tuple[tuple[Block, float], ...] = (
    (signs.barcode, 2), (signs.icons, 2), (forms.other_table, 2), (signs.best_before, 1),
    (signs.qr_code, 0.5), (signs.scores, 0.5), (blocks.claims, 0.5), (blocks.slogan, 0.5),
)  # fmt: skip
WAYS = ((1, 0.4), (2, 0.45), (3, 0.15))  # columns, and how often
TYPE = 11.0  # pixels; what panels are set in, roughly
LINES = 12  # different ones of a language, used again and again: drawing type takes the time
OWN_PAPER = 0.25  # of the tables among text, how many lie on paper of their own


class Text:
    """The text of one back: its look, its languages, and the tables printed in the same style."""

    def __init__(self, rng: Rng, look: Look, number: int, kind: str | None = None):
        self.rng = rng
        faint = float(rng.uniform(0, 0.5)) if chance(rng, 0.35) else 0.0
        ink = mixed(look.ink, look.ground, faint)
        self.look = replace(look, ink=ink, size=max(4.0, look.size * 0.8))
        self.style = Style(int(rng.integers(99)), ink, float(rng.uniform(1.0, 1.35)))
        names = [kind or layouts(rng, chance(rng, 0.75)) for _ in range(max(1, number))]
        self.tables: list[Table] = [self._table(name) for name in names[:number]]
        first = LANGUAGES[language_of(names[0])]
        others = [words for words in LANGUAGES.values() if words.script == first.script]
        self.words = [first, *(pick(rng, others) for _ in range(pick(rng, (0, 0, 1, 1, 2))))]

    def _table(self, name: str) -> Table:
        own_paper = chance(self.rng, OWN_PAPER)
        return panel(self.rng, self.look.ground, name, None if own_paper else self.style)

    def print(self, proof: Proof, inner: Box, tables: list[Table]) -> None:
        """Fills `inner` with columns of text; each table goes into one of them."""
        columns = _columns(self.rng, inner)
        homes = [int(self.rng.integers(len(columns))) for _ in tables]
        setter = _Setter(self, proof, max(right - left for left, _, right, _ in columns))
        for number, column in enumerate(columns):
            own = [table for table, home in zip(tables, homes, strict=True) if home == number]
            _column(self.rng, setter, column, own)


def _columns(rng: Rng, inner: Box) -> list[Box]:
    x0, y0, x1, y1 = inner
    shares = rng.uniform(0.6, 1.4, weighted(rng, WAYS)).cumsum()
    edges = [x0, *(x0 + int(share) for share in shares / shares[-1] * (x1 - x0))]
    return [
        (left + GAP, y0 + GAP, right - GAP, y1 - GAP)
        for left, right in pairwise(edges)
        if right - left > 30
    ] or [inner]


def _column(rng: Rng, setter: "_Setter", column: Box, own: list[Table]) -> None:
    """Text, a table, text, a table, text: the tables where chance has it."""
    x0, y, x1, bottom = column
    for number, (table, label) in enumerate(own):
        room = (bottom - y) / (len(own) - number)
        small = _fitted(rng, setter, table, label, (x1 - x0, room * float(rng.uniform(0.5, 0.95))))
        top = y + int(max(0.0, room - small.height - 2 * GAP) * pick(rng, (0, 1, rng.random())))
        gap = int(setter.pen.size * rng.uniform(0.3, 1.2))
        setter.fill((x0, y, x1, top - gap))
        left = x0 + pick(rng, (0, 0, (x1 - x0 - small.width) // 2, x1 - x0 - small.width))
        box = setter.proof.put(small, label, (left, top))
        setter.fill((box[2] + gap, box[1], x1, box[3]))
        setter.fill((x0, box[1], box[0] - gap, box[3]))
        y = box[3] + gap
    setter.fill((x0, y, x1, bottom))


def _fitted(
    rng: Rng, setter: "_Setter", table: Image.Image, label: str, room: tuple[float, float]
) -> Image.Image:
    """The table as wide as its column, or set in type about as large as the text."""
    scale = setter.pen.size / TYPE * float(rng.uniform(0.85, 1.4))
    if "small" not in label and chance(rng, 0.45):
        scale = room[0] / table.width
    return fit(table, scale, room)


class _Setter:
    """Sets text in columns up to a width: `regular` and `bold` lines, drawn once, as masks."""

    def __init__(self, text: Text, proof: Proof, width: int):
        self.rng, self.look, self.proof, self.width = text.rng, text.look, proof, width
        script = text.words[0].script
        able, rtl = typefaces(script), script in ("arabic", "hebrew")
        face = able[text.style.family % len(able)]
        self.pen = Pen(face, self.look.size, self.look.ink, rtl=rtl)
        self.step = self.look.size * text.style.leading
        self.justified, self.upper = chance(self.rng, 0.4), chance(self.rng, 0.15)
        self.regular = [self._lines(language, False) for language in text.words]
        self.bold = [self._lines(language, True) for language in text.words]

    def _lines(self, language: Language, bold: bool) -> list[Image.Image]:
        prose = language.prose + " " + language.note.replace("*", "")
        start = int(self.rng.integers(len(prose)))
        start = prose.find(" ", start) + 1
        text = (prose[start:] + " " + prose * 4)[: 5000 if not bold else 600]
        text = text.upper() if self.upper or (bold and chance(self.rng, 0.3)) else text
        most = 2 if bold else LINES
        reach = int(most * self.width / max(1.0, measure("e", self.pen, self.pen.size)) * 1.1)
        lines = wrapped(text[:reach], self.pen, self.pen.size, self.width, bold)
        return [self._mask(line, bold) for line in lines[:most]]

    def _mask(self, line: str, bold: bool) -> Image.Image:
        """The line's coverage, set word for word: words recur, and come from a cache."""
        size, mask = self.pen.size, Image.new("L", (self.width, round(self.pen.size * 1.3)))
        words, space = (line.split(), size * 0.26) if " " in line else (list(line), 0.0)
        x = 0.0
        for word in words:
            used = measure(word, self.pen, size, bold)
            at = self.width - x - used if self.pen.rtl else x
            write(mask, at, round(size), word, self.pen, size, 255, bold)
            x += used + space
        if self.justified and 0.8 * self.width < x < self.width and not self.pen.rtl:
            mask = mask.resize(mask.size, Image.Resampling.BILINEAR, (0, 0, x, mask.height))
        return mask

    def fill(self, box: Box) -> None:
        """Paragraphs of text down the box, with other things between them now and then."""
        x0, y, x1, bottom = box
        if x1 - x0 < 5 * self.pen.size:
            return
        while y + self.step < bottom:
            if chance(self.rng, 0.14):
                y = self._extra((x0, y, x1, bottom))
            elif chance(self.rng, 0.05):
                y += int(self.step * self.rng.uniform(1, 5))
            else:
                y = self._paragraph((x0, y, x1, bottom))

    def _extra(self, box: Box) -> int:
        x0, y, x1, bottom = box
        height = min(bottom - y, int(self.pen.size * self.rng.uniform(4, 11)))
        if height < 12:
            return bottom
        area = (x0, y, x1, y + height)
        tile = self.proof.image.crop(area)
        weighted(self.rng, EXTRAS)(self.rng, tile, self.look)
        self.proof.image.paste(tile, area[:2])
        return area[3] + GAP

    def _paragraph(self, box: Box) -> int:
        x0, y, x1, bottom = box
        rng, width = self.rng, x1 - x0
        which = int(rng.integers(len(self.regular)))
        lines = [pick(rng, self.regular[which]) for _ in range(int(rng.integers(2, 12)))]
        if chance(rng, 0.4) and self.bold[which]:
            lines[0] = pick(rng, self.bold[which])
        badge = chance(rng, 0.15)
        for number, line in enumerate(lines):
            if y + self.step > bottom:
                return bottom
            last = number == len(lines) - 1
            room = int(width * rng.uniform(0.2, 1)) if last else width
            area = (line.width - room, 0, line.width, line.height)
            part = line.crop(area if self.pen.rtl else (0, 0, room, line.height))
            at = (x1 - room if self.pen.rtl else x0, round(y))
            self.proof.image.paste(self.pen.ink, at, part)
            y = int(y + self.step) if rng.random() > self.step % 1 else int(y + self.step) + 1
        if badge:
            self._badge(x0, box[1])
        return y + int(self.step * pick(rng, (0, 0, 0.4, 1)))

    def _badge(self, x: int, y: int) -> None:
        """A country's sign in front of its paragraph."""
        size, look = self.pen.size, self.look
        code = pick(self.rng, ("FR", "DE", "NL", "IT", "ES", "PT", "GB", "PL", "CZ", "DK"))
        draw = ImageDraw.Draw(self.proof.image)
        draw.rectangle((x, y, x + round(size * 1.6), y + round(size * 1.1)), look.ink)
        font = typefaces("latin")[0].font(size * 0.9, bold=True)
        draw.text((x + size * 0.8, y + size), code, look.ground, font, anchor="ms")
