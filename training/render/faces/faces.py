"""Faces of food packs: tables, their surroundings, the outline of the pack."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from training.render.layout.colours import RGB, contrasting, pack_colour
from training.render.layout.dice import Rng, chance, pick, weighted
from training.render.layout.fonts import scripts
from training.render.layout.panels import LAYOUTS, panel
from training.render.layout.words import LANGUAGES
from training.render.negatives import kinds
from training.render.package import backs, blocks, forms, packs, signs
from training.render.package.blocks import Look
from training.render.package.proofs import GAP, Block, Box, Proof, Table, fit

NUMBER = ((1, 0.60), (2, 0.06), (0, 0.34))  # tables on a face, and how often
DENSE = 0.4  # of the faces with tables, how many are printed as in `backs.py`
NEGATIVES = 0.6  # of the faces without tables, how many are no pack at all
CLOSE = 0.2  # of the faces with one table, how many are the surroundings of the table alone
COVER = (0.06, 0.90)  # share of the face that its tables take
FIELDS: tuple[RGB, ...] = ((250, 250, 250), (250, 248, 240), (240, 240, 236), (20, 20, 22))
BACK: tuple[tuple[Block, float], ...] = (
    (blocks.paragraph, 9), (signs.barcode, 2.0), (signs.icons, 1.6), (blocks.slogan, 2),
    (signs.best_before, 1), (signs.qr_code, 0.7), (blocks.lettering, 0.8), (blocks.photo, 1.2),
    (blocks.claims, 0.7), (forms.other_table, 1.2), (forms.price_tag, 0.2),
)  # fmt: skip
FRONT: tuple[tuple[Block, float], ...] = (
    (blocks.lettering, 4), (blocks.photo, 4), (blocks.slogan, 4), (signs.icons, 1),
    (blocks.paragraph, 1), (signs.best_before, 0.3), (signs.warnings, 0.7), (blocks.claims, 0.5),
    (signs.scores, 1.2), (signs.weight, 0.8),
)  # fmt: skip
BADGE = 0.3  # what a small table takes of the room that a full one would
QUARTERS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Face:
    """A pack's face: `image` RGBA, its long side as asked; `tables` mode L, the same size, k where
    the hull of table k lies and 0 elsewhere; `labels` of the tables 1, 2, ..."""

    image: Image.Image
    tables: Image.Image
    labels: tuple[str, ...]


def face(rng: Rng, size: int = 384, kind: str | None = None) -> Face:
    """One face whose long side is `size` pixels, with no, one or two tables.

    `kind` is a key of LAYOUTS (one such table) or of KINDS (such a negative); drawn without it.
    """
    number = weighted(rng, NUMBER) if kind is None else int(kind in LAYOUTS)
    if kind in kinds.KINDS or (not number and chance(rng, NEGATIVES)):
        return _negative(rng, size, kind)
    if number == 1 and chance(rng, CLOSE):
        return _close(rng, _pack(rng, round(size * rng.uniform(1.2, 2)), number, kind), size)
    return _pack(rng, size, number, kind)


def _negative(rng: Rng, size: int, kind: str | None) -> Face:
    """A tag, a document, a shelf: no pack at all."""
    image = kinds.negative(rng, size, kind)
    image.putalpha(255)
    return Face(image, Image.new("L", image.size), ())


def _close(rng: Rng, pack: Face, size: int) -> Face:
    """The surroundings of the pack's table, 1.05 to 2 times its size, as a second look shows it."""
    x0, y0, x1, y1 = pack.tables.getbbox() or (0, 0, *pack.image.size)
    margin = (float(rng.uniform(1.05, 2)) - 1) / 2 * np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    margin = margin * rng.uniform(0.5, 1.5, 4)
    low = np.maximum(0, np.array([x0, y0]) - margin[:2]).astype(int)
    high = np.minimum(pack.image.size, np.array([x1, y1]) + margin[2:]).astype(int)
    box = (*low.tolist(), *high.tolist())
    scale = size / max(high - low)
    shape = (max(1, round((high - low)[0] * scale)), max(1, round((high - low)[1] * scale)))
    image = pack.image.crop(box).resize(shape, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return Face(image, pack.tables.crop(box).resize(shape, Image.Resampling.NEAREST), pack.labels)


def _pack(rng: Rng, size: int, number: int, kind: str | None) -> Face:
    """One side of a pack with `number` tables."""
    front = not number and chance(rng, 0.6)
    dense = not front and chance(rng, DENSE if number else 0.7)
    colour = pack_colour(rng)
    field = pick(rng, (*FIELDS, pack_colour(rng))) if chance(rng, 0.6 if dense else 0.3) else None
    look = _look(rng, field or colour, size / 384)
    text = backs.Text(rng, look, number, kind) if dense else None
    tables = text.tables if text else [panel(rng, field or colour, kind) for _ in range(number)]
    tables = [_turned(rng, *table) for table in tables]
    image = packs.ground(rng, _dimensions(rng, size, [] if text else tables), colour)
    alpha, margins = weighted(rng, packs.OUTLINES)(rng, image)
    inner = _inner(image, margins)
    if field:
        _draw_field(rng, image, inner, field)
    proof = Proof(image, Image.new("L", image.size), look, FRONT if front else BACK)
    if text:
        text.print(proof, inner, tables)
    else:
        _print(rng, proof, inner, tables)
    image.putalpha(alpha)
    return Face(image, proof.tables, tuple(proof.labels))


def _look(rng: Rng, colour: RGB, unit: float) -> Look:
    codes = [code for code, words in LANGUAGES.items() if words.script in scripts()]
    code = "en" if chance(rng, 0.4) else pick(rng, codes)
    ink, size = contrasting(rng, colour), float(rng.uniform(5.5, 11)) * unit
    return Look(colour, ink, LANGUAGES[code], size)


def _turned(rng: Rng, table: Image.Image, label: str) -> tuple[Image.Image, str]:
    """The table, one time in eight turned on its side or head."""
    if chance(rng, 0.88):
        return table, label
    return table.transpose(QUARTERS[pick(rng, (90, 90, 270, 270, 180))]), label


def _dimensions(rng: Rng, size: int, tables: list[Table]) -> tuple[int, int]:
    """Width and height, from 1:3 to 3:1, leaning towards the shape of the table."""
    lead = tables[0][0] if tables else None
    aspect = lead.width / lead.height if lead else 0.75
    aspect = aspect ** float(rng.uniform(0.4, 1.0)) * float(np.exp(rng.normal(-0.05, 0.28)))
    aspect = min(max(aspect, 1 / 3), 3.0)
    return (size, round(size / aspect)) if aspect > 1 else (round(size * aspect), size)


def _inner(image: Image.Image, margins: packs.Margins) -> Box:
    left, top, right, bottom = margins
    w, h = image.size
    return (round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h))


# -- printing


def _print(rng: Rng, proof: Proof, inner: Box, tables: list[Table]) -> None:
    area = proof.image.width * proof.image.height / max(1, len(tables))
    cover = float(np.clip(np.exp(rng.normal(np.log(0.5), 0.7)), *COVER)) * area
    zones = _halves(rng, inner) if len(tables) == 2 else [inner]
    for number, zone in enumerate(zones):
        if not tables:
            _fill(rng, proof, zone)
            continue
        table, label = tables[number]
        box = _place(rng, proof, zone, table, label, cover)
        for rest in _around(rng, zone, box):
            _fill(rng, proof, rest)


def _halves(rng: Rng, box: Box) -> list[Box]:
    x0, y0, x1, y1 = box
    share = float(rng.uniform(0.4, 0.6))
    if x1 - x0 > y1 - y0:
        x = round(x0 + share * (x1 - x0))
        return [(x0, y0, x - GAP, y1), (x + GAP, y0, x1, y1)]
    y = round(y0 + share * (y1 - y0))
    return [(x0, y0, x1, y - GAP), (x0, y + GAP, x1, y1)]


def _draw_field(rng: Rng, image: Image.Image, inner: Box, colour: RGB) -> None:
    """A light or dark field under everything, as back labels have it."""
    corner = (inner[2] - 1, inner[3] - 1)
    ImageDraw.Draw(image).rounded_rectangle((*inner[:2], *corner), int(rng.integers(0, 12)), colour)


def _place(rng: Rng, proof: Proof, zone: Box, table: Image.Image, label: str, cover: float) -> Box:
    """The table at the wanted area, as far as it fits, somewhere in the zone."""
    width, height = zone[2] - zone[0] - 2 * GAP, zone[3] - zone[1] - 2 * GAP
    cover *= BADGE if "small" in label else 1.0
    small = fit(table, (cover / (table.width * table.height)) ** 0.5, (width, height))
    slack = np.array([width - small.width, height - small.height])
    share = rng.choice([0.0, 0.5, 1.0], 2) if chance(rng, 0.4) else rng.random(2)
    x, y = (slack.clip(0) * share).astype(int)
    return proof.put(small, label, (zone[0] + GAP + int(x), zone[1] + GAP + int(y)))


def _around(rng: Rng, zone: Box, box: Box) -> list[Box]:
    """The four rests of the zone around the box; either the flanks or head and foot go through."""
    (zx0, zy0, zx1, zy1), (x0, y0, x1, y1) = zone, box
    x0, y0, x1, y1 = x0 - GAP, y0 - GAP, x1 + GAP, y1 + GAP
    if chance(rng, 0.5):
        return [(zx0, zy0, x0, zy1), (x1, zy0, zx1, zy1), (x0, zy0, x1, y0), (x0, y1, x1, zy1)]
    return [(zx0, zy0, zx1, y0), (zx0, y1, zx1, zy1), (zx0, y0, x0, y1), (x1, y0, zx1, y1)]


def _fill(rng: Rng, proof: Proof, box: Box) -> None:
    """Blocks all over the box, which is halved until it is about the size of one."""
    width, height = box[2] - box[0], box[3] - box[1]
    if min(width, height) < 10:
        return
    largest = proof.look.size * (24 if proof.kinds is FRONT else 14)
    if max(width, height) > largest and chance(rng, 0.85):
        for half in _halves(rng, box):
            _fill(rng, proof, half)
        return
    if chance(rng, 0.12):
        return
    tile = proof.image.crop(box)
    turn = pick(rng, (90, 270)) if chance(rng, 0.5 if height > 3 * width else 0.06) else 0
    tile = tile.transpose(QUARTERS[turn]) if turn else tile
    weighted(rng, proof.kinds)(rng, tile, proof.look)
    proof.image.paste(tile.transpose(QUARTERS[360 - turn]) if turn else tile, box[:2])
