"""Grounds of faces, and the outlines of packs."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from training.render.layout.colours import RGB, food_colour, mixed, pack_colour, rgb, shaded, vivid
from training.render.layout.dice import Rng, chance, pick

Margins = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the face


def ground(rng: Rng, size: tuple[int, int], colour: RGB) -> Image.Image:
    """The printed ground, RGB: plain, shaded, banded, striped, dotted, chequered or cloudy."""
    image = Image.new("RGB", size, colour)
    other = mixed(colour, vivid(rng), 0.4)
    kind = rng.random()
    if kind < 0.45:
        return image
    if kind < 0.57:
        return _bands(rng, image, pack_colour(rng))
    if kind < 0.70:
        return _cloudy(rng, size, colour)
    if kind < 0.77:
        return _foil(rng, size, colour)
    if kind < 0.82:
        return _contents(rng, image)
    return _pattern(rng, image, other if chance(rng, 0.7) else vivid(rng))


def _bands(rng: Rng, image: Image.Image, other: RGB) -> Image.Image:
    draw, (w, h) = ImageDraw.Draw(image), image.size
    slope = float(rng.normal(0, 0.15)) * w
    y = h * float(rng.uniform(-0.1, 0.8))
    reach = h * float(rng.uniform(0.15, 0.5))
    draw.polygon([(0, y), (w, y + slope), (w, y + slope + reach), (0, y + reach)], fill=other)
    return image


def _cloudy(rng: Rng, size: tuple[int, int], colour: RGB) -> Image.Image:
    grid = rng.normal(0, rng.uniform(4, 35), (*rng.integers(2, 7, 2), 1))
    field = np.array(colour) + grid + rng.normal(0, 5, (*grid.shape[:2], 3))
    small = Image.fromarray(field.clip(0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def _foil(rng: Rng, size: tuple[int, int], colour: RGB) -> Image.Image:
    """Metal or shiny film: streaks of light and shade along one direction."""
    knots = (int(rng.integers(12, 50)), int(rng.integers(1, 5)))
    knots = knots if chance(rng, 0.5) else knots[::-1]
    streaks = rng.normal(1, rng.uniform(0.08, 0.3), (*knots, 1))
    small = Image.fromarray((np.array(colour) * streaks).clip(0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def _contents(rng: Rng, image: Image.Image) -> Image.Image:
    """A transparent pack: nuts, sweets or biscuits behind the print."""
    draw, (w, h) = ImageDraw.Draw(image), image.size
    tones = [food_colour(rng) for _ in range(int(rng.integers(1, 6)))]
    across = float(rng.uniform(0.02, 0.09)) * max(w, h)
    for _ in range(int(min(600, 1.6 * w * h / across**2))):
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        a, b = across * rng.uniform(0.5, 1.1, 2)
        light = float(rng.uniform(0.55, 1.1))
        tone = shaded(pick(rng, tones), light)
        draw.ellipse((x - a, y - b, x + a, y + b), tone, shaded(tone, 0.5))
    return image


def _pattern(rng: Rng, image: Image.Image, other: RGB) -> Image.Image:
    draw, (w, h) = ImageDraw.Draw(image), image.size
    step, kind = int(rng.integers(10, 48)), int(rng.integers(4))
    thick = max(1, int(step * rng.uniform(0.1, 0.5)))
    if kind == 0:
        lean = int(rng.integers(-h, h))
        for x in range(-h, w + h, step):
            draw.line((x, 0, x + lean, h), fill=other, width=thick)
    elif kind == 1:
        for y in range(0, h, step):
            draw.rectangle((0, y, w, y + thick), fill=other)
    else:
        for row, y in enumerate(range(0, h, step)):
            for x in range(step // 2 * (row % 2), w, step):
                shape = draw.ellipse if kind == 2 else draw.rectangle
                shape((x, y, x + thick, y + thick), fill=other)
    return image


# -- outlines: each returns the alpha (mode L) and the margins that the content keeps


def box(rng: Rng, image: Image.Image) -> tuple[Image.Image, Margins]:
    """A carton's side, perhaps with a lid's fold."""
    return _rounded(image, pick(rng, (0, 0, 0.02, 0.05))), (0.02, 0.02, 0.02, 0.02)


def label(rng: Rng, image: Image.Image) -> tuple[Image.Image, Margins]:
    """A paper label, often with round corners."""
    return _rounded(image, rng.uniform(0.0, 0.2)), (0.03, 0.03, 0.03, 0.03)


def _rounded(image: Image.Image, share: float) -> Image.Image:
    alpha, corner = Image.new("L", image.size, 0), (image.width - 1, image.height - 1)
    radius = int(min(image.size) * share)
    ImageDraw.Draw(alpha).rounded_rectangle((0, 0, *corner), radius, fill=255)
    return alpha


def bag(rng: Rng, image: Image.Image) -> tuple[Image.Image, Margins]:
    """A pillow bag: jagged crimped ends, sides slightly drawn in."""
    w, h = image.size
    waist = w * float(rng.uniform(0.0, 0.05))
    tooth, seal = float(rng.uniform(2, 6)), h * float(rng.uniform(0.03, 0.09))
    xs = np.arange(0, w + tooth, tooth)
    zigzag = tooth * (np.arange(len(xs)) % 2) * (rng.random() < 0.7)
    ys = np.linspace(0, h, 12)
    pull = waist * np.sin(np.linspace(0, np.pi, 12)) * rng.uniform(0.4, 1.0, 12)
    outline = [
        *zip(xs, zigzag, strict=True),
        *zip(w - pull, ys, strict=True),
        *zip(xs[::-1], h - 1 - zigzag, strict=True),
        *zip(pull[::-1], ys[::-1], strict=True),
    ]
    alpha = Image.new("L", (w, h), 0)
    ImageDraw.Draw(alpha).polygon([(float(x), float(y)) for x, y in outline], fill=255)
    _crimps(rng, image, seal)
    edge = seal / h + 0.01
    return alpha, (waist / w + 0.02, edge, waist / w + 0.02, edge)


def _crimps(rng: Rng, image: Image.Image, seal: float) -> None:
    """Fine ribs across both sealed ends."""
    draw, (w, h) = ImageDraw.Draw(image), image.size
    colour = np.array(image.getpixel((w // 2, 1)))
    shades = [rgb(colour * f) for f in (0.75, 1.15)]
    for top in (0.0, h - seal):
        for i, y in enumerate(np.arange(top, top + seal, 3.0)):
            draw.line((0, y, w, y), fill=shades[i % 2])


def jar(rng: Rng, image: Image.Image) -> tuple[Image.Image, Margins]:
    """A jar or bottle: lid, shoulders, contents showing around the label."""
    w, h = image.size
    draw, alpha = ImageDraw.Draw(image), Image.new("L", (w, h), 0)
    neck, lid = float(rng.uniform(0.0, 0.32)) * w, float(rng.uniform(0.06, 0.14)) * h
    shoulder = lid + float(rng.uniform(0.02, 0.12)) * h
    shape = ImageDraw.Draw(alpha)
    shape.rounded_rectangle((neck * 0.9, 0, w - neck * 0.9, lid + 3), 3, fill=255)
    shape.polygon([(neck, lid), (w - neck, lid), (w, shoulder), (0, shoulder)], fill=255)
    shape.rounded_rectangle((0, shoulder - 2, w - 1, h - 1), int(w * 0.06), fill=255)
    draw.rectangle((0, 0, w, lid), fill=pack_colour(rng))
    draw.rectangle((0, lid, w, shoulder + 0.03 * h), fill=pack_colour(rng))
    return alpha, (0.03, shoulder / h + 0.04, 0.03, 0.05)


def can(rng: Rng, image: Image.Image) -> tuple[Image.Image, Margins]:
    """A can or tub: metal rims above and below, curved ends."""
    w, h = image.size
    bulge, rim = float(rng.uniform(0.01, 0.07)) * w, float(rng.uniform(0.02, 0.05)) * h
    alpha = Image.new("L", (w, h), 0)
    shape, draw = ImageDraw.Draw(alpha), ImageDraw.Draw(image)
    shape.rectangle((0, bulge, w, h - bulge), fill=255)
    shape.ellipse((0, 0, w - 1, 2 * bulge), fill=255)
    shape.ellipse((0, h - 1 - 2 * bulge, w - 1, h - 1), fill=255)
    metal = pick(rng, ((185, 188, 192), (205, 175, 90), (240, 240, 240), pack_colour(rng)))
    draw.rectangle((0, 0, w, bulge + rim), fill=metal)
    draw.rectangle((0, h - bulge - rim, w, h), fill=metal)
    edge = (bulge + rim) / h + 0.01
    return alpha, (0.02, edge, 0.02, edge)


Outline = Callable[[Rng, Image.Image], tuple[Image.Image, Margins]]
OUTLINES: tuple[tuple[Outline, float], ...] = (
    (bag, 3.5), (box, 3.0), (label, 1.2), (jar, 1.5), (can, 1.0),
)  # fmt: skip
