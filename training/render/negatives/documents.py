"""Paper with rows and columns: timetables, menus, invoices, spreadsheets, data sheets, forms."""

from dataclasses import replace

from PIL import Image, ImageDraw

from training.render.layout.arrange import stacked
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.sheets import HAIR, Line, Pen, block
from training.render.layout.words import WORDS, Language
from training.render.negatives import paper

TYPE = 12.0  # pixels; sheets are set large and then fitted to their paper
SPEC_KEYS = WORDS["spec_keys"]
UNITS = ("V", "W", "mm", "kg", "cm", "Hz", "mAh", "ml", "pcs", "GB", "dpi", "°C", "years", "")
Rows = list[Line]


def _page(rng: Rng, size: int, shape: tuple[float, float], rows: Rows, pen: Pen) -> Image.Image:
    """The rows fitted to a sheet, between a title and lines of type now and then."""
    image, words = paper.sheet(rng, size, *shape, ground=None), paper.language(rng)
    ground = paper.ground_of(image)
    fresh = vars(paper.pen(rng, ground, TYPE))
    pen = replace(pen, **{name: fresh[name] for name in ("ink", "tint", "accent", "accent_ink")})
    parts = [block(rows, pen)]
    width = parts[0].width
    if chance(rng, 0.6):
        text, scale = paper.phrase(rng, words, 1, 4), float(rng.uniform(1.1, 2.4))
        head = Line((text,), True, scale, align=pick(rng, "lm"))
        own = replace(pen, face=paper.pen(rng, ground, TYPE, words).face)
        parts.insert(0, block([head], own, width))
    if chance(rng, 0.4):
        own = replace(pen, face=paper.pen(rng, ground, TYPE, words).face)
        text = paper.prose(rng, words, int(rng.integers(60, 400)))
        parts.append(block([Line((text,), scale=float(rng.uniform(0.7, 1)))], own, width))
    paper.fitted(image, stacked(parts, pen), float(rng.uniform(0.75, 1.0)))
    return image


def _pen(rng: Rng, words: Language | None = None) -> Pen:
    pen = paper.pen(rng, (255, 255, 255), TYPE, words)
    return replace(pen, stretch=float(rng.uniform(1.0, 1.6)))


def timetable(rng: Rng, size: int) -> Image.Image:
    """Departures: stops or lines and their times, or hours with minutes behind them."""
    words, columns = paper.language(rng), int(rng.integers(1, 8))
    rule, zebra = pick(rng, (0.0, HAIR)), chance(rng, 0.4)
    lines = [str(int(rng.integers(1, 400))) for _ in range(columns)]
    rows = [Line(("", *lines), True, ground=pick(rng, ("", "accent")))]
    for i in range(int(rng.integers(5, 22))):
        times = (paper.clock(rng) if chance(rng, 0.9) else "|" for _ in range(columns))
        ground = "tint" if zebra and i % 2 else ""
        rows.append(Line((paper.name(rng), *times), rule=rule, ground=ground))
    if chance(rng, 0.3):
        hours = range(5, int(rng.integers(12, 24)))
        rows = [Line((f"{hour:02}", _minutes(rng)), rule=rule) for hour in hours]
    return _page(rng, size, (0.5, 1.8), rows, _pen(rng, words if words.script == "latin" else None))


def _minutes(rng: Rng) -> str:
    minutes = sorted(rng.integers(0, 60, int(rng.integers(1, 7))))
    return "  ".join(f"{minute:02}" for minute in minutes)


def menu(rng: Rng, size: int) -> Image.Image:
    """Dishes and prices under headings, with a line on each now and then."""
    words, rows = paper.language(rng), Rows()
    pen = _pen(rng, words)
    pen = replace(pen, grid=False, leading=float(rng.uniform(1.2, 2.0)))
    sign = pick(rng, ("", "", "$", "€", "£"))
    for _ in range(int(rng.integers(1, 5))):
        head, scale = paper.phrase(rng, words, 1, 2).upper(), float(rng.uniform(1.1, 1.6))
        rows.append(Line((head,), True, scale, align=pick(rng, "lm")))
        for _ in range(int(rng.integers(2, 8))):
            dish, price = paper.phrase(rng, words, 1, 4), paper.number(rng, pick(rng, (0, 2)), 60)
            rows.append(Line((dish, sign + price), chance(rng, 0.2)))
            if chance(rng, 0.3):
                rows.append(Line((paper.phrase(rng, words, 3, 7),), scale=0.75))
    return _page(rng, size, (0.5, 1.4), rows, pen)


def invoice(rng: Rng, size: int) -> Image.Image:
    """A letter head, an address, goods in columns and their sum."""
    words = paper.language(rng, 0.9)
    rows = [Line((paper.name(rng), paper.name(rng)), True, 1.4)]
    rows.append(Line((paper.phrase(rng, words, 2, 4),)))
    keys = (key for key in ("Invoice", "Date", "Tel", "VAT") if chance(rng, 0.6))
    rows += [Line((f"{key}: {paper.number(rng, 0, 10**5)}",)) for key in keys]
    heads = ("Description", "Qty", "Unit", "Price", "Tax", "Total")[: int(rng.integers(3, 7))]
    rows.append(Line(heads, True, rule=HAIR, ground=pick(rng, ("", "accent", "tint"))))
    for _ in range(int(rng.integers(2, 14))):
        cells = (paper.number(rng, pick(rng, (0, 2))) for _ in heads[1:])
        rows.append(Line((paper.phrase(rng, words, 1, 4), *cells), rule=pick(rng, (0, HAIR))))
    for key in ("Net", "VAT 20%", "Total"):
        rows.append(Line((key, paper.number(rng, 2)), key == "Total", rule=HAIR))
    return _page(rng, size, (0.6, 1.2), rows, _pen(rng, words))


def spreadsheet(rng: Rng, size: int) -> Image.Image:
    """Cells of numbers in a grid, lettered and numbered at the edges, as on a screen or printed."""
    columns, words = int(rng.integers(3, 9)), paper.language(rng)
    edge = chance(rng, 0.5)
    rows = [Line(("", *"ABCDEFGHIJ"[:columns]), ground="tint")] if edge else []
    for i in range(int(rng.integers(6, 24))):
        numbers = (chance(rng, 0.85) for _ in range(columns))
        cells = [paper.number(rng, pick(rng, (0, 1, 2))) if number else "" for number in numbers]
        first = str(i + 1) if edge else paper.phrase(rng, words, 1, 3)
        bold, ground = chance(rng, 0.05), "tint" if chance(rng, 0.1) else ""
        rows.append(Line((first, *cells), bold, rule=HAIR, ground=ground))
    return _page(rng, size, (0.7, 2.0), rows, replace(_pen(rng, words), grid=chance(rng, 0.8)))


def data_sheet(rng: Rng, size: int) -> Image.Image:
    """A product-information table: properties and their values, on a box, a sticker or a screen."""
    words = paper.language(rng)
    own, rule, zebra = chance(rng, 0.4), pick(rng, (0.0, HAIR, HAIR)), chance(rng, 0.3)
    rows = []
    for i in range(int(rng.integers(4, 16))):
        key = pick(rng, SPEC_KEYS) if own else paper.phrase(rng, words, 1, 3)
        value = f"{paper.number(rng, pick(rng, (0, 1)))} {pick(rng, UNITS)}"
        value = value if chance(rng, 0.5) else paper.phrase(rng, words, 1, 3)
        key = key + pick(rng, ("", ":"))
        rows.append(Line((key, value), rule=rule, ground="tint" if zebra and i % 2 else ""))
    return _page(rng, size, (0.6, 2.0), rows, _pen(rng, None if own else words))


def form(rng: Rng, size: int) -> Image.Image:
    """A form to fill in: questions, empty boxes and lines."""
    image, words = paper.sheet(rng, size, 0.6, 1.5), paper.language(rng)
    pen = paper.pen(rng, paper.ground_of(image), size * float(rng.uniform(0.02, 0.04)), words)
    draw, y, w = ImageDraw.Draw(image), 6, image.width
    while y < image.height - 3 * pen.size:
        height = int(pen.size * rng.uniform(1.4, 3))
        kind = int(rng.integers(4))
        if kind == 0:
            draw.rectangle((6, y, w - 7, y + height), outline=pen.ink)
        elif kind == 1:
            for x in range(6, w - height, int(w / rng.integers(2, 12)) + 1):
                draw.rectangle((x, y, x + height, y + height), outline=pen.ink)
        elif kind == 2:
            draw.line((w * 0.4, y + height, w - 7, y + height), fill=pen.ink)
        text = paper.phrase(rng, words, 1, 6) if kind else paper.phrase(rng, words, 1, 3)
        paper.printed(image, [block([Line((text,), kind == 3)], pen, w * 0.9)], (9, y))
        y += height + int(pen.size * rng.uniform(0.2, 1.5))
    return image


def ticket(rng: Rng, size: int) -> Image.Image:
    """A ticket or boarding pass: small keys over large values, in fields."""
    image, words = paper.sheet(rng, size, 1.2, 3.0), paper.language(rng, 0.9)
    pen = paper.pen(rng, paper.ground_of(image), size * float(rng.uniform(0.025, 0.045)), words)
    across, down = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    for i in range(across * down):
        x, y = i % across * image.width // across + 5, i // across * image.height // down + 5
        value = pick(rng, (paper.clock(rng), paper.name(rng), paper.number(rng)))
        key = Line((paper.phrase(rng, words, 1, 2),), scale=0.8)
        rows = [key, Line((value,), True, float(rng.uniform(1.3, 2.6)))]
        paper.printed(image, [block(rows, pen, image.width / across)], (x, y))
    return image


def calendar(rng: Rng, size: int) -> Image.Image:
    """A month: seven columns of days."""
    words = paper.language(rng)
    heads = tuple(paper.phrase(rng, words, 1, 1)[:3] for _ in range(7))
    days, first = [str(d) for d in range(1, 31)], int(rng.integers(7))
    cells = ["", *days] if first else days
    rows = [Line(heads, True, rule=HAIR, ground=pick(rng, ("", "accent", "tint")))]
    rows += [Line(tuple(cells[i : i + 7]), rule=HAIR) for i in range(0, len(cells) - 6, 7)]
    return _page(rng, size, (0.7, 1.5), rows, _pen(rng, words))
