"""Printed matter: book pages and covers, leaflets, newspapers, signs, text without any table."""

from PIL import Image, ImageDraw

from training.render.layout.colours import BLACK, WHITE, contrasting, near, pack_colour, vivid
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.sheets import Line, block
from training.render.layout.words import WORDS
from training.render.negatives import paper
from training.render.package import blocks


def page(rng: Rng, size: int) -> Image.Image:
    """A page of a book, or two, or of a dictionary in columns."""
    image, words = paper.sheet(rng, size, 0.6, 1.6), paper.language(rng, 0.6)
    pen = paper.pen(rng, paper.ground_of(image), size * float(rng.uniform(0.017, 0.04)), words)
    columns, margin = pick(rng, (1, 1, 2, 2, 3)), int(size * rng.uniform(0.01, 0.09))
    width = (image.width - margin) // columns
    for i in range(columns):
        box = (margin + i * width, margin, (i + 1) * width, image.height - margin)
        paper.column(rng, image, box, pen, words)
    return image


def newspaper(rng: Rng, size: int) -> Image.Image:
    """Headlines, pictures and columns of different height."""
    image, words = paper.sheet(rng, size, 0.6, 1.5), paper.language(rng, 0.7)
    ground = paper.ground_of(image)
    pen, y = paper.pen(rng, ground, size * float(rng.uniform(0.015, 0.025)), words), 4
    look = blocks.Look(ground, pen.ink, words, pen.size)
    while y < image.height - 20:
        head = Line((paper.phrase(rng, words, 2, 6),), True, float(rng.uniform(1.5, 4)))
        y = paper.printed(image, [block([head], pen, image.width - 8)], (4, y)) + 3
        height, columns = int(size * rng.uniform(0.15, 0.5)), int(rng.integers(2, 6))
        for i in range(columns):
            x, step = 4 + i * image.width // columns, image.width // columns
            box = (x, y, x + step - 5, min(y + height, image.height))
            if chance(rng, 0.2) and box[3] - y > 12:
                tile = image.crop(box)
                blocks.photo(rng, tile, look)
                image.paste(tile, box[:2])
            else:
                paper.column(rng, image, box, pen, words)
        y += height + 4
    return image


def cover(rng: Rng, size: int) -> Image.Image:
    """A book's front, back or spine: a large title, a picture, a blurb."""
    image, words = paper.sheet(rng, size, 0.5, 0.9, pack_colour(rng)), paper.language(rng)
    ground = paper.ground_of(image)
    look = blocks.Look(ground, contrasting(rng, ground), words, size * 0.03)
    if chance(rng, 0.5):
        tile = Image.new("RGB", (image.width, int(size * rng.uniform(0.3, 1.0))), ground)
        blocks.photo(rng, tile, look)
        image.paste(tile, (0, int(rng.integers(max(1, image.height - tile.height + 1)))))
    pen = paper.pen(rng, ground, size * float(rng.uniform(0.025, 0.05)), words)
    y = int(size * rng.uniform(0.02, 0.4))
    for scale in (float(rng.uniform(1.5, 4)), 1.2):
        line = Line((paper.phrase(rng, words, 1, 4),), True, scale, align=pick(rng, "lm"))
        y = paper.printed(image, [block([line], pen, image.width - 8)], (4, y)) + 8
    if chance(rng, 0.5):
        paper.column(rng, image, (12, y, image.width - 12, image.height - 30), pen, words)
    return image


def leaflet(rng: Rng, size: int) -> Image.Image:
    """A medicine's leaflet or box: small type with bold headings, lists, a strip of colour."""
    image = page(rng, size)
    draw, (w, h) = ImageDraw.Draw(image), image.size
    band = int(h * rng.uniform(0.06, 0.25))
    draw.rectangle((0, 0, w, band), vivid(rng))
    words = paper.language(rng)
    pen = paper.pen(rng, (60, 60, 60), band * 0.4, words)
    head = Line((f"{paper.name(rng)} {int(rng.integers(1, 100)) * 5} mg",), True)
    paper.printed(image, [block([head], pen, w - 8)], (6, 2))
    return image


def sign(rng: Rng, size: int) -> Image.Image:
    """A sign on a wall or a road: a few large words, an arrow, a frame."""
    ground = pick(rng, (WHITE, (200, 25, 30), (0, 80, 160), (0, 120, 70), (250, 205, 20), BLACK))
    image = paper.sheet(rng, size, 0.5, 3.0, near(rng, ground, 8))
    words = paper.language(rng)
    pen = paper.pen(rng, ground, 20, words)
    lines = []
    for _ in range(int(rng.integers(1, 7))):
        warns = words.script == "latin" and chance(rng, 0.4)
        text = pick(rng, WORDS["warnings"]) if warns else paper.phrase(rng, words, 1, 4)
        bold, scale = chance(rng, 0.6), float(rng.uniform(0.7, 2.5))
        lines.append(Line((text,), bold, scale, align=pick(rng, "lmm")))
    for _ in range(3 if chance(rng, 0.3) else 0):
        lines.append(Line((paper.name(rng), pick(rng, ("→", "←", "↑", paper.clock(rng))))))
    paper.fitted(image, block(lines, pen, 300), 0.85)
    if chance(rng, 0.5):
        box, radius = (3, 3, image.width - 4, image.height - 4), int(rng.integers(0, 20))
        ImageDraw.Draw(image).rounded_rectangle(box, radius, outline=pen.ink, width=3)
    return image
