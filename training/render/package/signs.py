"""Codes, icons and stamps on packs, as blocks `(rng, tile, look)` like those of `blocks.py`."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from training.render.layout.colours import BLACK, WHITE, luminance, vivid
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.fonts import typefaces
from training.render.layout.words import WORDS
from training.render.package.blocks import Look, fitted, framed_ground

GRADES = ((0, 130, 60), (130, 190, 40), (250, 200, 0), (240, 130, 0), (225, 60, 20))


def barcode(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Bars on white with digits below."""
    width = int(min(tile.width, tile.height * 2.2, 140) * rng.uniform(0.8, 1.0))
    height = int(min(tile.height, width * rng.uniform(0.4, 0.9)))
    if width < 20 or height < 10:
        return
    bars = rng.random(max(12, width // 2)) < 0.5
    strip = np.where(np.repeat(bars, 2)[:width], 20, 255).astype(np.uint8)
    strip[:3] = strip[-3:] = 255
    size = max(5, height // 6)
    code = np.tile(strip, (height, 1))
    code[-size:] = code[:2] = 255
    image = Image.fromarray(code).convert("RGB")
    digits = "".join(str(d) for d in rng.integers(0, 10, 13))
    font = typefaces("latin")[0].font(size)
    ImageDraw.Draw(image).text((len(strip) / 2, height), digits, BLACK, font, anchor="md")
    tile.paste(image, _somewhere(rng, tile, image))


def qr_code(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A square of random modules with three finder patterns."""
    side = int(min(tile.width, tile.height, 90))
    if side < 14:
        return
    modules = np.where(rng.random((27, 27)) < 0.5, 10, 255).astype(np.uint8)
    for y, x in ((0, 0), (0, 18), (18, 0)):
        modules[y : y + 9, x : x + 9] = 255
        modules[y + 1 : y + 8, x + 1 : x + 8] = 10
        modules[y + 2 : y + 7, x + 2 : x + 7] = 255
        modules[y + 3 : y + 6, x + 3 : x + 6] = 10
    image = Image.fromarray(modules).resize((side, side), Image.Resampling.BOX).convert("RGB")
    tile.paste(image, _somewhere(rng, tile, image))


def icons(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A row of recycling arrows, seals and leaves."""
    side = min(*tile.size, int(rng.integers(14, 50)))
    draw, font = ImageDraw.Draw(tile), typefaces("latin")[0].font(side * 0.3, bold=True)
    for x in range(0, min(tile.width - side, side * int(rng.integers(1, 6))), side + 3):
        box, middle = (x + 1, 1, x + side - 2, side - 2), (x + side / 2, side / 2)
        kind = int(rng.integers(5))
        colour = look.ink if chance(rng, 0.6) else vivid(rng)
        if kind == 0:
            draw.regular_polygon((*middle, side * 0.45), 3, outline=colour, width=2)
        elif kind == 1:
            draw.ellipse(box, outline=colour, width=2)
        elif kind == 2:
            draw.ellipse(box, fill=colour)
        elif kind == 3:
            draw.rectangle(box, outline=colour, width=1)
        else:
            draw.arc(box, int(rng.integers(360)), int(rng.integers(360)), fill=colour, width=3)
        if chance(rng, 0.6):
            text = pick(rng, ("PET", "BIO", "05", "PAP", "FSC", "ISO", "1", "OK", "V", "GMP"))
            draw.text(middle, text, pick(rng, (look.ink, WHITE)), font, anchor="mm")


def best_before(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A stamped date and lot number."""
    day, month, year, hour = (int(v) for v in rng.integers((1, 1, 23, 0), (29, 13, 29, 24)))
    head = pick(rng, ("EXP", "BEST BEFORE", "BBE", "MHD", "L", "CONSUME BEFORE", "MFG", ""))
    text = f"{head} {day:02}.{month:02}.20{year}\nL{int(rng.integers(100000))} {hour:02}:{day:02}"
    size = min(look.size * 1.4, tile.height * 0.4, tile.width / 9)
    if chance(rng, 0.4):
        framed_ground(rng, tile, replace(look, ink=BLACK))
    ink = BLACK if chance(rng, 0.5) else look.ink
    font = pick(rng, typefaces("latin")).font(size)
    ImageDraw.Draw(tile).text((3, 2), text, ink, font, spacing=1)


def warnings(rng: Rng, tile: Image.Image, look: Look) -> None:
    """The black octagons that Latin American fronts carry."""
    side = min(*tile.size, int(rng.integers(24, 60)))
    draw, font = ImageDraw.Draw(tile), typefaces("latin")[0].font(side * 0.17, bold=True)
    for x in range(0, min(tile.width - side + 1, side * int(rng.integers(1, 4))), side):
        centre = (x + side / 2, side / 2)
        draw.regular_polygon((*centre, side / 2), 8, 22, fill=BLACK, outline=WHITE)
        text = pick(rng, WORDS["octagons"])
        draw.text(centre, text, WHITE, font, anchor="mm", align="center", spacing=1)


def scores(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Nutrition on fronts, without a table: graded letters, stars, round claims."""
    pick(rng, (_grades, _stars, _claims))(rng, tile, look)


def _grades(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Five letters from green to red, one of them larger."""
    side = int(min(tile.width / 6, tile.height * 0.6, 26))
    draw, chosen = ImageDraw.Draw(tile), int(rng.integers(5))
    font = typefaces("latin")[0].font(side * 0.8, bold=True)
    draw.rounded_rectangle((0, 0, side * 6 - 1, side * 1.6), side // 3, WHITE)
    for i, letter in enumerate("ABCDE"):
        x, pad = side * (i + 0.5), side * 0.2 * (i == chosen)
        draw.rectangle((x, side * 0.3 - pad, x + side, side * 1.3 + pad), GRADES[i])
        draw.text((x + side / 2, side * 0.8), letter, WHITE, font, anchor="mm")


def _stars(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A rating out of five stars next to a number."""
    side = int(min(tile.width / 7, tile.height, 24))
    draw, rating = ImageDraw.Draw(tile), int(rng.integers(1, 11)) / 2
    font = typefaces("latin")[0].font(side * 0.9, bold=True)
    draw.text((side, side / 2), f"{rating:g}", look.ink, font, anchor="mm")
    for i in range(5):
        shape = (side * (2.5 + i), side / 2, side * 0.45)
        fill = look.ink if i < rating else None
        draw.regular_polygon(shape, 5, fill=fill, outline=look.ink)


def _claims(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Discs, each with a claim and perhaps a ring."""
    side = int(min(*tile.size, int(rng.integers(24, 70))))
    draw, colour = ImageDraw.Draw(tile), pick(rng, (look.ink, vivid(rng), vivid(rng)))
    text, filled = luminance(colour) < 140, chance(rng, 0.6)
    ink = (WHITE if text else BLACK) if filled else colour
    for x in range(0, min(tile.width - side + 1, side * int(rng.integers(1, 4))), side):
        box = (x + 1, 1, x + side - 2, side - 2)
        draw.ellipse(box, fill=colour if filled else None, outline=colour, width=2)
        where, font = (x + side / 2, side / 2), typefaces("latin")[0].font(side * 0.17, bold=True)
        claim = pick(rng, WORDS["claims"])
        draw.text(where, claim, ink, font, anchor="mm", align="center", spacing=1)


def weight(rng: Rng, tile: Image.Image, look: Look) -> None:
    """The pack's content: a number and its unit."""
    number = int(rng.integers(2, 100)) * pick(rng, (5, 10, 25))
    text = f"{pick(rng, ('', '', 'NET WT ', 'e '))}{number} {pick(rng, ('g', 'g e', 'ml', 'ml e'))}"
    face = pick(rng, typefaces("latin"))
    fitted(ImageDraw.Draw(tile), tile, text, face, look.ink, chance(rng, 0.6), 0)


def _somewhere(rng: Rng, tile: Image.Image, image: Image.Image) -> tuple[int, int]:
    return (int(rng.integers(0, max(1, tile.width - image.width + 1))),
            int(rng.integers(0, max(1, tile.height - image.height + 1))))  # fmt: skip
