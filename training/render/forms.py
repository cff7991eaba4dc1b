"""Tables and slips that say nothing on nutrition: a detector has to leave them alone.

The functions are blocks, `(rng, tile, look)`, as in `blocks.py`.
"""

from dataclasses import replace

from PIL import Image, ImageDraw

from training.render.blocks import Look, fitted, paste, slogan
from training.render.colours import BLACK, WHITE, vivid
from training.render.dice import Rng, chance, pick
from training.render.fonts import typefaces
from training.render.sheets import Line, Pen, block
from training.render.signs import barcode
from training.render.words import BRANDS, COOKING, RECEIPT


def _grid_rows(rng: Rng) -> list[Line]:
    kind = int(rng.integers(3))
    ground, rule = pick(rng, ("", "accent", "tint")), pick(rng, (0, 0.02))
    if kind == 0:
        rows = [COOKING[i] for i in rng.permutation(len(COOKING))[: int(rng.integers(3, 6))]]
        head = pick(
            rng,
            (("Cooking", "Heat", "Time"), ("PREPARATION", "", ""), ("Servings", "Water", "Mix")),
        )
    elif kind == 1:
        rows = [
            (str(i), f"{int(rng.integers(20, 60))} cm", f"{int(rng.integers(20, 90))}")
            for i in ("S", "M", "L", "XL")
        ]
        head = ("Size", "Chest", "kg")
    else:
        ages = [
            (
                f"{a}-{a + 2} months",
                f"{int(rng.integers(60, 200))} ml",
                str(int(rng.integers(1, 7))),
            )
            for a in range(0, 12, 3)
        ]
        head, rows = ("Feeding guide", "Water", "Scoops"), ages
    return [
        Line(head, bold=True, rule=rule, ground=ground),
        *(Line(row, rule=rule) for row in rows),
    ]


def other_table(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A table that says nothing on nutrition: cooking times, sizes, feeding."""
    pen = Pen(
        face=pick(rng, typefaces("latin")),
        size=look.size,
        ink=look.ink,
        tint=vivid(rng),
        accent=look.ink,
        accent_ink=look.ground,
        grid=chance(rng, 0.5),
        stretch=float(rng.uniform(1, 1.4)),
    )
    paste(tile, block(_grid_rows(rng), pen))


def receipt(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Goods and prices, as on a till slip."""
    tile.paste((245, 244, 240), (0, 0, *tile.size))
    pen = Pen(pick(rng, typefaces("latin")), max(7.0, tile.width / 22), BLACK)
    name = " ".join(str(b) for b in rng.choice(BRANDS, 2))
    goods = [str(g) for g in rng.choice(RECEIPT, int(rng.integers(3, 16)))]
    lines = [
        Line((f"{name} TRADING",), bold=True, align="m", scale=1.5),
        Line(("No. 26, Jalan Harmoni, 81100 Johor",), align="m"),
        Line(("Item", "Qty", "Amount"), bold=True, rule=0.02),
        *(Line((g, str(int(rng.integers(1, 4))), f"{rng.uniform(1, 90):.2f}")) for g in goods),
        Line(("Total", "", f"{rng.uniform(20, 300):.2f}"), bold=True, scale=1.3, rule=0.02),
        Line(("*** Thank you ***",), align="m"),
    ]
    paste(tile, block(lines, pen, tile.width - 8))


def price_tag(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A shelf label: a name, a large price, a bar code."""
    tile.paste(pick(rng, (WHITE, (255, 230, 60), (250, 120, 40))), (0, 0, *tile.size))
    half = (tile.width, max(1, tile.height // 2))
    upper = tile.crop((0, 0, *half))
    slogan(rng, upper, replace(look, ink=BLACK))
    tile.paste(upper, (0, 0))
    face, price = pick(rng, typefaces("latin")), f"{rng.uniform(0.5, 30):.2f}"
    lower = tile.crop((0, half[1], tile.width // 2, tile.height))
    fitted(ImageDraw.Draw(lower), lower, price, face, pick(rng, (BLACK, (200, 20, 20))), True, 0)
    tile.paste(lower, (0, half[1]))
    right = tile.crop((tile.width // 2, half[1], tile.width, tile.height))
    barcode(rng, right, look)
    tile.paste(right, (tile.width // 2, half[1]))


def parcel(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A delivery label: addresses between rules over a bar code."""
    tile.paste(WHITE, (0, 0, *tile.size))
    pen = Pen(pick(rng, typefaces("latin")), max(7.0, tile.width / 20), BLACK)
    code, street = int(rng.integers(10000, 99999)), int(rng.integers(1, 200))
    names = [str(name).title() for name in rng.choice(BRANDS, 3)]
    lines = [
        Line(("FROM",), scale=0.7),
        Line((f"{names[0]} Logistics",), rule=0.1),
        Line(("SHIP TO",), scale=0.7),
        Line((f"{names[1]} {names[2]}",), bold=True, scale=1.3),
        Line((f"{street} Harbour Road",)),
        Line((str(code),), bold=True, scale=1.5, rule=0.1),
        Line(("WEIGHT", f"{rng.uniform(0.2, 20):.1f} kg"), rule=0.02),
        Line(("TRACKING #", f"1Z {code} {street}"), rule=0.1),
    ]
    sheet = block(lines, pen, tile.width - 8)
    paste(tile, sheet)
    rest = (4, min(sheet.height + 6, tile.height - 1), tile.width, tile.height)
    strip = tile.crop(rest)
    barcode(rng, strip, look)
    tile.paste(strip, rest[:2])
