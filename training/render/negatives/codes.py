"""Codes for machines: bars, squares of modules, the labels that carry them."""

import numpy as np
from PIL import Image, ImageDraw

from training.render.layout.colours import BLACK
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.fonts import typefaces
from training.render.layout.sheets import Line, block
from training.render.negatives import paper

KEYS = "S/N,P/N,MODEL,LOT,REF,Qty,Date,INPUT,Made in,Weight,TO,FROM".split(",")


def bars(rng: Rng, width: int, height: int, ground: int = 255) -> Image.Image:
    """Bars of one to four modules with a line of digits below, or none."""
    module = max(1, round(width / float(rng.uniform(60, 140))))
    widths = rng.integers(1, 5, 200).cumsum() * module
    strip = np.full(max(width, 8), ground, np.uint8)
    for left, right in zip(widths[::2], widths[1::2], strict=True):
        strip[left:right] = 25
    quiet = max(2, width // 20)
    strip[:quiet] = strip[-quiet:] = ground
    code = np.tile(strip, (max(height, 8), 1))
    text = int(height * rng.uniform(0.1, 0.25)) if chance(rng, 0.8) else 0
    if text:
        code[-text:] = ground
    image = Image.fromarray(code).convert("RGB")
    if text > 4:
        digits = "".join(str(d) for d in rng.integers(0, 10, int(rng.integers(7, 14))))
        digits = " ".join(digits) if chance(rng, 0.4) else digits
        font = pick(rng, typefaces("latin")).font(text * 0.95)
        ImageDraw.Draw(image).text((width / 2, height), digits, BLACK, font, anchor="md")
    return image


def modules(rng: Rng, side: int) -> Image.Image:
    """A square code: QR with its finders, Data Matrix with its solid sides, Aztec, or stacked."""
    count, kind = int(rng.integers(14, 60)), int(rng.integers(4))
    cells = np.where(rng.random((count, count)) < 0.5, 10, 255).astype(np.uint8)
    if kind == 0:
        for y, x in ((0, 0), (0, count - 8), (count - 8, 0)):
            cells[y : y + 8, x : x + 8] = 255
            cells[y : y + 7, x : x + 7] = 10
            cells[y + 1 : y + 6, x + 1 : x + 6] = 255
            cells[y + 2 : y + 5, x + 2 : x + 5] = 10
    elif kind == 1:
        cells[:, 0] = cells[-1] = 10
    elif kind == 2:
        middle = count // 2
        for r in range(5, -1, -1):
            ring = slice(middle - r, middle + r + 1)
            cells[ring, ring] = 10 if r % 2 == 0 else 255
    else:
        cells = np.repeat(cells[: max(3, count // 4)], 3, axis=0)
    framed = np.pad(cells, 2, constant_values=255)
    size = (side, max(8, round(side * framed.shape[0] / framed.shape[1])))
    return Image.fromarray(framed).resize(size, Image.Resampling.BOX).convert("RGB")


def barcode(rng: Rng, size: int) -> Image.Image:
    """Bars that fill the photo, perhaps with a line of type above."""
    image = paper.sheet(rng, size, 0.8, 3.0)
    w, h = image.size
    share = float(rng.uniform(0.5, 1.0))
    width = int(w * rng.uniform(0.6, 1.0))
    code = bars(rng, width, int(h * share), pick(rng, (255, 255, 235, 200)))
    image.paste(code, ((w - code.width) // 2, h - code.height))
    if share < 0.85:
        words = paper.language(rng)
        pen = paper.pen(rng, paper.ground_of(image), max(6.0, h * (1 - share) * 0.3), words)
        text = pick(rng, (f"ISBN 0-{paper.number(rng, 0, 10**6)}", paper.phrase(rng, words, 2, 6)))
        paper.printed(image, [block([Line((text,))], pen, w)], (0, 2))
    return image


def square(rng: Rng, size: int) -> Image.Image:
    """A square code on a sheet, with or without a caption."""
    image = paper.sheet(rng, size, 0.6, 1.6, pick(rng, ((255, 255, 255), (240, 238, 230))))
    code = modules(rng, int(min(image.size) * rng.uniform(0.5, 1.0)))
    code.thumbnail((image.width, image.height))
    image.paste(code, ((image.width - code.width) // 2, (image.height - code.height) // 2))
    if chance(rng, 0.4):
        words = paper.language(rng)
        pen = paper.pen(rng, paper.ground_of(image), size * 0.05, words)
        line = Line((paper.phrase(rng, words, 2, 5),))
        paper.printed(image, [block([line], pen, image.width)], (2, 2))
    return image


def asset(rng: Rng, size: int) -> Image.Image:
    """A label of a parcel, a device or a library: lines of type, rules, bars."""
    image, words = paper.sheet(rng, size, 0.6, 2.5), paper.language(rng, 0.9)
    pen = paper.pen(rng, paper.ground_of(image), size * float(rng.uniform(0.025, 0.05)), words)
    rows = []
    for i in rng.permutation(len(KEYS))[: int(rng.integers(2, 9))]:
        value = pick(rng, (paper.number(rng, 0, 10**6), paper.name(rng), f"{paper.number(rng)} V"))
        cells = (KEYS[i], value) if chance(rng, 0.5) else (f"{KEYS[i]}: {value}",)
        bold, scale = chance(rng, 0.2), float(rng.uniform(0.8, 1.5))
        rows.append(Line(cells, bold, scale, rule=pick(rng, (0, 0, 0.02))))
    y = paper.printed(image, [block(rows, pen, image.width * 0.9)], (int(image.width * 0.05), 4))
    if image.height - y > 20:
        code = bars(rng, int(image.width * 0.8), int((image.height - y) * 0.8))
        image.paste(code, (image.width // 10, y + 4))
    return image
