"""Tables and slips that say nothing on nutrition: a detector has to leave them alone.

The functions are blocks, `(rng, tile, look)`, as in `blocks.py`.
"""

from dataclasses import replace

from PIL import Image, ImageDraw

from training.render.layout.arrange import stacked
from training.render.layout.colours import BLACK, WHITE, vivid
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.fonts import typefaces
from training.render.layout.sheets import Line, Pen, block
from training.render.layout.words import WORDS
from training.render.package.blocks import Look, fitted, paste, slogan
from training.render.package.signs import barcode

# By number: rows of which some are drawn, how many, and headings; rows of drawn numbers.
LISTS: dict[int, tuple] = {
    0: (
        WORDS["cooking"],
        (3, 6),
        (("Cooking", "Heat", "Time"), ("PREPARATION", "", ""), ("Servings", "Water", "Mix")),
    ),
    2: (
        WORDS["waste"],
        (2, 5),
        (("Recycling", "", ""), ("Raccolta differenziata", "", ""), ("", "", "")),
    ),
    3: (WORDS["contacts"], (2, 6), (("Contact", ""), ("Made for", ""), ("Careline", ""))),
}
MONTHS = [f"{month}-{month + 2} months" for month in range(0, 12, 3)]
GRIDS: dict[int, tuple] = {
    1: ("Size", (20, 60), ("Chest", "cm"), (20, 90), "kg", ("S", "M", "L", "XL")),
    4: ("Feeding guide", (60, 200), ("Water", "ml"), (1, 7), "Scoops", MONTHS),
}


def _grid_rows(rng: Rng) -> list[Line]:
    kind = int(rng.integers(5))
    ground, rule = pick(rng, ("", "accent", "tint")), pick(rng, (0, 0.02))
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if kind in LISTS:
        texts, most, heads = LISTS[kind]
        rows = [texts[i] for i in rng.permutation(len(texts))[: int(rng.integers(*most))]]
        head = pick(rng, heads)
    else:
        name, low, unit, high, last, starts = GRIDS[kind]
        rows, head = [], (name, unit[0], last)
        for start in starts:
            size = f"{int(rng.integers(*low))} {unit[1]}"
            rows.append((start, size, str(int(rng.integers(*high)))))
    first = Line(head, bold=True, rule=rule, ground=ground)
    return [first, *(Line(row, rule=rule) for row in rows)]


def other_table(rng: Rng, tile: Image.Image, look: Look) -> None:
    """A table that says nothing on nutrition: cooking times, sizes, feeding."""
    face, tint = pick(rng, typefaces("latin")), vivid(rng)
    grid, stretch = chance(rng, 0.5), float(rng.uniform(1, 1.4))
    pen = Pen(face, look.size, look.ink, None, look.ink, look.ground, tint)
    pen = replace(pen, grid=grid, stretch=stretch)
    paste(tile, block(_grid_rows(rng), pen))


def receipt(rng: Rng, tile: Image.Image, look: Look) -> None:
    """Goods and prices, as on a till slip: head, details, goods in two to four columns, sums."""
    tile.paste((245, 244, 240), (0, 0, *tile.size))
    size = max(6.0, tile.width / float(rng.uniform(18, 34)))
    face, leading = pick(rng, typefaces("latin")), float(rng.uniform(1.1, 1.7))
    pen = Pen(face, size, BLACK, leading=leading, dotted=chance(rng, 0.4))
    rule = pick(rng, (0.0, 0.02, 0.02))
    parts = [
        block(lines, pen, tile.width - 8)
        for lines in (_shop(rng), _till(rng, rule), _goods(rng, rule), _sums(rng, rule))
    ]
    paste(tile, stacked(parts, pen))


def _shop(rng: Rng) -> list[Line]:
    names = [str(b) for b in rng.choice(WORDS["brands"], 4)]
    kind = pick(rng, ("TRADING", "SDN BHD", "Market", "SUPERMARKET", "& Co.", "Ltd", "GmbH"))
    street = f"No. {int(rng.integers(1, 200))}, {names[2].title()}{names[3].lower()} Street"
    phone = f"Tel: {int(rng.integers(10, 99))}-{int(rng.integers(100000, 999999))}"
    scale = float(rng.uniform(1.1, 2.0))
    head = Line((f"{names[0]}{names[1]} {kind}",), bold=True, align="m", scale=scale)
    lines = (street, f"{int(rng.integers(10000, 99999))} {names[3].title()}", phone, "TAX INVOICE")
    return [head, *(Line((line,), align="m") for line in lines if chance(rng, 0.7))]


def _till(rng: Rng, rule: float) -> list[Line]:
    """Number, date, cashier; "key : value" in one cell or two."""
    day, month, hour = (int(n) for n in rng.integers((1, 1, 8), (29, 13, 22)))
    rows = (
        ("Bill", f"{int(rng.integers(10**6))}"), ("Date", f"{day:02}/{month:02}/2019 {hour}:31"),
        ("Cashier", "01"), ("Table", str(int(rng.integers(1, 30)))), ("Served by", "Anna"),
    )  # fmt: skip
    kept, split = [row for row in rows if chance(rng, 0.6)], chance(rng, 0.4)
    lines = [Line(row if split else (" : ".join(row),)) for row in kept] or [Line(("",))]
    return [*lines[:-1], replace(lines[-1], rule=rule)]


def _goods(rng: Rng, rule: float) -> list[Line]:
    columns, currency = int(rng.integers(1, 4)), pick(rng, ("", "", "$", "RM ", "€ "))
    heads = (("Item", "Amount"), ("Item", "Qty", "Amount"), ("Description", "Qty", "Price", "RM"))
    head = Line(heads[columns - 1], bold=chance(rng, 0.5), rule=rule)
    lines = [head] if chance(rng, 0.7) else []
    for name in rng.choice(WORDS["receipt"], int(rng.integers(1, 16))):
        number, price = int(rng.integers(1, 4)), float(rng.uniform(0.5, 90))
        cells = (str(number), f"{price:.2f}", f"{currency}{number * price:.2f}")
        lines.append(Line((str(name), *cells[3 - columns :])))
    return [*lines[:-1], replace(lines[-1], rule=rule)]


def _sums(rng: Rng, rule: float) -> list[Line]:
    total = float(rng.uniform(5, 300))
    rows = (
        ("Subtotal", total * 0.9), ("GST 6%", total * 0.1), ("Rounding", 0.0),
        ("Cash", total + 10), ("Change", 10.0), ("VISA", total),
    )  # fmt: skip
    lines = [Line((name, f"{value:.2f}")) for name, value in rows if chance(rng, 0.5)]
    scale = float(rng.uniform(1, 1.6))
    grand = Line(("Total", f"{total:.2f}"), bold=chance(rng, 0.7), scale=scale, rule=rule)
    thanks = pick(rng, ("*** Thank you ***", "Please come again", "Goods sold are not refundable"))
    return [grand, *lines, Line((thanks,), align="m")]


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
    names = [str(name).title() for name in rng.choice(WORDS["brands"], 3)]
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
