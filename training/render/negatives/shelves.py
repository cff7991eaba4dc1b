"""Whole shelves: many packs, none of which can be read."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.render.layout.colours import contrasting, pack_colour, shaded, vivid
from training.render.layout.dice import Rng, chance, pick
from training.render.negatives import paper, tags
from training.render.package import blocks

PIECES = (blocks.lettering, blocks.lettering, blocks.photo, blocks.slogan, blocks.claims)


def shelf(rng: Rng, size: int) -> Image.Image:
    """Rows of packs over rails with tags, in front of a dark back wall."""
    dark = int(rng.integers(15, 140))
    image = paper.sheet(rng, size, 0.6, 1.8, (dark, dark, dark + 5))
    rows = int(rng.integers(1, 6))
    height, rail = image.height // rows, int(image.height / rows * rng.uniform(0.06, 0.2))
    colour = pick(rng, ((230, 230, 230), (60, 60, 62), (200, 30, 35), vivid(rng)))
    for row in range(rows):
        top = row * height
        _row(rng, image, (top, top + height - rail))
        ImageDraw.Draw(image).rectangle((0, top + height - rail, image.width, top + height), colour)
        _tags(rng, image, (top + height - rail, top + height))
    return image.filter(ImageFilter.BoxBlur(pick(rng, (0, 0.6, 1)))) if chance(rng, 0.4) else image


def _row(rng: Rng, image: Image.Image, span: tuple[int, int]) -> None:
    """Packs next to each other, several of a kind."""
    x, (top, bottom) = -int(rng.integers(20)), span
    while x < image.width:
        height = int((bottom - top) * rng.uniform(0.5, 1.0))
        pack = _pack(rng, max(8, int(height * rng.uniform(0.25, 1.2))), max(8, height))
        for _ in range(int(rng.integers(1, 6))):
            light = float(rng.uniform(0.8, 1.1))
            image.paste(pack.point(lambda v, f=light: int(v * f)), (x, bottom - height))
            x += pack.width + int(rng.integers(0, 3))
        x += int(rng.integers(0, 12))


def _pack(rng: Rng, width: int, height: int) -> Image.Image:
    """A front in a few strokes."""
    ground = pack_colour(rng)
    image = Image.new("RGB", (width, height), ground)
    ink, words = contrasting(rng, ground), paper.language(rng)
    look = blocks.Look(ground, ink, words, max(4.0, height * 0.07))
    cuts = np.sort(rng.uniform(0, 1, int(rng.integers(1, 4))))
    for low, high in zip([0.0, *cuts], [*cuts, 1.0], strict=True):
        box = (1, int(low * height), width - 1, int(high * height))
        if box[3] - box[1] > 8 and width > 10:
            tile = image.crop(box)
            pick(rng, PIECES)(rng, tile, look)
            image.paste(tile, box[:2])
    ImageDraw.Draw(image).rectangle((0, 0, width - 1, height - 1), outline=shaded(ground, 0.6))
    return image


def _tags(rng: Rng, image: Image.Image, span: tuple[int, int]) -> None:
    top, bottom = span
    x, make = int(rng.integers(4, 60)), pick(rng, (tags.electronic, tags.printed))
    if bottom - top < 10:
        return
    tag = make(rng, 96)
    while x < image.width and chance(rng, 0.9):
        small = tag.resize((int((bottom - top) * tag.width / tag.height), bottom - top))
        image.paste(small, (x, top))
        x += small.width + int(rng.integers(5, 120))
