"""The surroundings of a nutrition table on a pack: text, lettering, pictures.

Each is a function (rng, tile, look) that draws onto `tile`, an RGB picture already filled with
the pack's ground.
"""

import textwrap
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from training.render.layout.colours import BLACK, RGB, WHITE, food_colour, near, shaded, vivid
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.fonts import Typeface, typefaces
from training.render.layout.sheets import Line, Pen, block
from training.render.layout.words import WORDS, Language


@dataclass(frozen=True)
class Look:
    """Shared by the blocks of one face: ground and ink, language, text size in pixels."""

    ground: RGB
    ink: RGB
    language: Language
    size: float


def paragraph(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Ingredients, storage, addresses: running text, sometimes in several languages or framed."""
    draw, size = ImageDraw.Draw(tile), look.size * float(rng.uniform(0.75, 1.3))
    face = pick(rng, typefaces(look.language.script))
    pen = Pen(face, size, look.ink)
    box = framed_ground(rng, tile, look) if chance(rng, 0.15) else None
    ink = BLACK if box else look.ink
    regular, bold = face.font(size), face.font(size, bold=True)
    prose = look.language.prose
    start = int(rng.integers(0, max(1, len(prose) // 2))) if chance(rng, 0.5) else 0
    text = (prose[start:] + " " + prose) * 2
    text = text.upper() if chance(rng, 0.3) else text
    sample = text[:40]
    per_line = int((tile.width - 6) / max(1.0, _advance(pen, sample, size)) * len(sample))
    leading = size * float(rng.uniform(1.0, 1.35))
    room = int((tile.height - 4) / leading)
    wanted = room if chance(rng, 0.6) else int(room * rng.random())
    if per_line < 5:
        return
    strong = 1 if chance(rng, 0.5) else 0
    every = chance(rng, 0.15)
    lines = textwrap.wrap(text, per_line, max_lines=wanted, placeholder="") if wanted > 0 else []
    middle = chance(rng, 0.15)
    for number, line in enumerate(lines):
        font = bold if number < strong or every else regular
        x = tile.width / 2 if middle else 3
        if pen.face.latin is None:
            draw.text((x, 2 + number * leading), line, ink, font, anchor="ma" if middle else "la")
        else:
            _mixed(draw, 3, 2 + number * leading + size * 0.9, line, pen, ink)


def _advance(pen: Pen, text: str, size: float) -> float:
    return sum(face.font(size).getlength(run) for face, run in pen.face.runs(text))


def _mixed(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, pen: Pen, ink: RGB) -> None:
    for face, run in pen.face.runs(text):
        font = face.font(pen.size)
        draw.text((x, y), run, ink, font, anchor="ls")
        x += font.getlength(run)


def framed_ground(rng: Rng, tile: Image.Image, look: Look) -> bool:
    """A white box or a frame behind the next block; True where it is white."""
    white = chance(rng, 0.6) or look.ink == BLACK
    fill = WHITE if white else None
    corner = (tile.width - 1, tile.height - 1)
    ImageDraw.Draw(tile).rounded_rectangle((0, 0, *corner), int(rng.integers(0, 6)), fill, look.ink)
    return white


def slogan(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A short claim, wrapped and as large as fits."""
    words = " ".join(str(w) for w in rng.choice(WORDS["slogans"], int(rng.integers(1, 3))))
    face, draw = pick(rng, typefaces("latin")), ImageDraw.Draw(tile)
    width = max(6, int(len(words) / rng.integers(1, 4)))
    text = textwrap.fill(words, width, break_long_words=False)
    colour = look.ink if chance(rng, 0.6) else pick(rng, (vivid(rng), WHITE, BLACK))
    if chance(rng, 0.25):
        draw.rounded_rectangle((0, 0, tile.width - 1, tile.height - 1), 5, fill=vivid(rng))
    fitted(draw, tile, text, face, colour, chance(rng, 0.7), 0)


def lettering(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A brand name in fat outlined letters."""
    name = "".join(str(b) for b in rng.choice(WORDS["brands"], int(rng.integers(2, 4))))
    name = name if chance(rng, 0.6) else name.capitalize()
    if chance(rng, 0.4):
        ImageDraw.Draw(tile).ellipse((0, 0, tile.width - 1, tile.height - 1), fill=vivid(rng))
    stroke = int(min(tile.size) * rng.uniform(0, 0.05))
    face = pick(rng, typefaces("latin"))
    colour = pick(rng, (WHITE, vivid(rng), look.ink, (255, 220, 40)))
    fitted(ImageDraw.Draw(tile), tile, name, face, colour, True, stroke, vivid(rng))


def fitted(
    draw: ImageDraw.ImageDraw, tile: Image.Image, text: str, face: Typeface, colour: RGB,
    bold: bool, stroke: int, edge: RGB | None = None,
) -> None:  # fmt: skip
    """Text in the middle of the tile, as large as fits."""
    left, top, right, bottom = draw.textbbox((0, 0), text, face.font(20, bold), spacing=2)
    scale = min(
        (tile.width - 4) / max(1, right - left), (tile.height - 4) / max(1, bottom - top), 6
    )
    centre = (tile.width / 2, tile.height / 2)
    draw.text(centre, text, colour, face.font(20 * scale * 0.92, bold), anchor="mm", align="center",
              spacing=2, stroke_width=stroke, stroke_fill=edge)  # fmt: skip


def claims(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Slogans below each other, with bullets or rules: a list that is no table."""
    mark, rule = pick(rng, ("• ", "- ", "* ", "")), pick(rng, (0, 0, 0.02))
    pen = Pen(pick(rng, typefaces("latin")), look.size * float(rng.uniform(0.8, 1.3)), look.ink)
    lines = [
        Line((f"{mark}{text}",), rule=rule)
        for text in rng.choice(WORDS["slogans"], int(rng.integers(3, 8)))
    ]
    paste(tile, block(lines, pen))


def photo(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Something like food: soft shades with round pieces lit from above, cut round or square."""
    base, other = np.array(food_colour(rng)), np.array(food_colour(rng))
    blend = rng.random((*rng.integers(2, 9, 2), 1)) * rng.uniform(0.3, 1.0)
    shades = (base + (other - base) * blend).astype(np.uint8)
    picture = Image.fromarray(shades).resize(tile.size, Image.Resampling.BICUBIC)
    draw, piece = ImageDraw.Draw(picture), food_colour(rng)
    for _ in range(int(rng.integers(0, 16))):
        at = (rng.uniform(0, tile.width), rng.uniform(0, tile.height))
        radius = float(rng.uniform(0.04, 0.25)) * min(tile.size)
        _piece(draw, at, radius, float(rng.uniform(0.5, 1.0)), near(rng, piece, 8))
    mask = Image.new("L", tile.size, 255)
    if chance(rng, 0.5):
        mask = Image.new("L", tile.size, 0)
        ImageDraw.Draw(mask).ellipse((0, 0, *tile.size), fill=255)
    tile.paste(picture, (0, 0), mask)


def _piece(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float, flat: float, colour: RGB
) -> None:
    """A rounded thing: rim, body and highlight."""
    for light, size in ((0.6, 1.0), (1.0, 0.85), (1.3, 0.35)):
        a, b = radius * size, radius * size * flat
        x, y = at[0], at[1] - radius * (1 - size) * 0.4
        draw.ellipse((x - a, y - b, x + a, y + b), fill=shaded(colour, light))


def paste(tile: Image.Image, image: Image.Image) -> None:
    image.thumbnail((max(1, tile.width - 4), max(1, tile.height - 4)))
    tile.paste(image, (2, 2), image)
