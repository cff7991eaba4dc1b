"""Panels per serving with daily values: America, Canada, the Philippines, Thailand, Korea.

A layout is a function (rng, pen, country) -> transparent block; `country` is a key of FACTS.
"""

from dataclasses import replace

from PIL import Image

from training.render.layout.arrange import note, side_by_side, stacked
from training.render.layout.dice import Rng, amount, chance, percent, pick
from training.render.layout.sheets import HAIR, Line, Pen, block
from training.render.layout.words import FACTS, WORDS, Facts

SHORT_FORMS = (
    ("Total Carbohydrate", "Total Carb."),
    ("Saturated", "Sat."),
    ("Dietary Fiber", "Fiber"),
)


def vertical(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """The tall panel: title, servings, calories, nutrients, vitamins, footnote."""
    words = FACTS[country]
    new = not words.fat_calories or chance(rng, 0.3)
    split = chance(rng, 0.12)
    kept = [r for r in words.rows if r.lstrip(">").startswith("*") or chance(rng, 0.75)]
    hair = 0.0 if chance(rng, 0.1) else HAIR
    rows = [_row(rng, row, hair, split=split) for row in kept]
    rows[-1] = replace(rows[-1], rule=float(rng.uniform(0.2, 0.7)))
    lines = [*_head(rng, words, new, chance(rng, 0.75)), *_energy(rng, words, new), *rows]
    main = block(lines, replace(pen, grid=pen.grid and split))
    parts = [main, *_vitamins(rng, words, pen, main.width)]
    if chance(rng, 0.85):
        parts.append(note(words.note, pen, main.width, float(rng.uniform(0.62, 0.85))))
    if country == "us_old" and chance(rng, 0.5):
        parts.append(block(_diet_table(), pen, main.width))
    return stacked(parts, pen)


def dual(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """Two columns of daily values: per serving and per container, or dry and with milk."""
    words = FACTS[country]
    heads = pick(
        rng, (("Per serving", "Per container"), ("Cereal", "with milk"), ("1 bar", "2 bars"))
    )
    figures = tuple(str(int(rng.integers(4, 60)) * 10) for _ in heads)
    lines = [
        *_head(rng, words, True, True),
        Line(("", *heads), bold=True, rule=HAIR),
        Line((words.calories, *figures), bold=True, scale=1.4, rule=0.3),
        *(_row(rng, row, HAIR, columns=2) for row in words.rows),
    ]
    main = block(lines, replace(pen, grid=chance(rng, 0.5)))
    return stacked([main, note(words.note, pen, main.width)], pen)


def tabular(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """The wide panel: head at the left, nutrients in two columns, footnote right or below."""
    words = FACTS[country]
    left = block(_side_head(rng, words), pen, pen.size * float(rng.uniform(7.5, 11)))
    rows = [_row(rng, _shortened(row), HAIR) for row in words.rows if chance(rng, 0.9)]
    half = (len(rows) + 1) // 2
    top = Line((words.amount, pick(rng, words.daily)), bold=True, scale=0.8, rule=0.3)
    columns = [block([top, *part], pen) for part in (rows[:half], rows[half:])]
    middle = side_by_side(columns, pen, rule=chance(rng, 0.5))
    vitamins = "  •  ".join(f"{v} {percent(rng)}" for v in words.vitamins[:4])
    foot = block([Line((vitamins,), scale=0.9, rule=HAIR)], pen, middle.width)
    middle = stacked([middle, foot], pen)
    if chance(rng, 0.6):
        return side_by_side(
            [left, middle, note(words.note, pen, pen.size * 9)], pen, chance(rng, 0.3)
        )
    whole = side_by_side([left, middle], pen, chance(rng, 0.5))
    return stacked([whole, note(words.note, pen, whole.width)], pen)


def linear(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """Values as running text, names in bold."""
    words = FACTS[country]
    rows = [_row(rng, row, 0).cells for row in words.rows]
    body = ", ".join(f"{name} ({value.strip('`')})" for name, value in rows)
    calories = f"`{words.calories}` {int(rng.integers(1, 60)) * 10}"
    end = words.note if chance(rng, 0.5) else ""
    serving = f"{words.size} {pick(rng, WORDS['servings'])}, {words.amount}"
    text = f"`{words.titles[0]}` {serving}: {calories}, {body}. {end}"
    return block([Line((text.strip(),))], pen, pen.size * float(rng.uniform(14, 45)))


# -- parts


def _row(rng: Rng, row: str, rule: float, columns: int = 1, split: bool = False) -> Line:
    """One nutrient and `columns` daily values; its amount in a column of its own if `split`."""
    name, unit, largest = row.split(";")
    indent = len(name) - len(name.lstrip(">"))
    name = name.lstrip(">")
    value = f"{amount(rng, float(largest), 0)}{unit}"
    name = f"`{name[1:]}`" if name.startswith("*") else name
    bold = "`" if columns == 1 else ""
    shares = tuple(
        "" if chance(rng, 0.12) else f"{bold}{percent(rng)}{bold}" for _ in range(columns)
    )
    cells = (name, value, *shares) if split else (f"{name} {value}", *shares)
    return Line(cells, indent=indent, rule=rule)


def _shortened(row: str) -> str:
    for long, short in SHORT_FORMS:
        row = row.replace(long, short)
    return row


def _servings(rng: Rng, words: Facts, new: bool) -> list[Line]:
    """How much a serving is and how many there are, over a heavy rule."""
    serving, count = pick(rng, WORDS["servings"]), int(rng.integers(1, 20))
    counted = f"{count} {words.count}" if new else f"{words.count} {count}"
    lines = [Line((counted,))] if words.count else []
    if new:
        lines.append(Line((words.size, serving), bold=True))
    else:
        lines.insert(0, Line((f"{words.size} {serving}",)))
    lines[-1] = replace(lines[-1], rule=float(rng.uniform(0.25, 0.75)))
    return lines


def _head(rng: Rng, words: Facts, new: bool, fit: bool) -> list[Line]:
    scale = 1.6 if fit else float(rng.uniform(1.1, 1.6))
    ground = "accent" if chance(rng, 0.06) else ""
    title = [Line((t,), True, scale, align="m", ground=ground, fit=fit) for t in words.titles]
    if chance(rng, 0.7):
        title = [replace(line, align="l") for line in title]
    return [*title, *_servings(rng, words, new)]


def _side_head(rng: Rng, words: Facts) -> list[Line]:
    titles = [Line((part,), bold=True, scale=1.8) for t in words.titles for part in t.split(" ", 1)]
    calories = f"`{words.calories}` {int(rng.integers(1, 60)) * 10}"
    return [*titles, *_servings(rng, words, False), Line((calories,), scale=1.2)]


def _energy(rng: Rng, words: Facts, new: bool) -> list[Line]:
    """Amount per serving, calories, the heading of the daily values."""
    calories = str(int(rng.integers(1, 60)) * 10)
    daily = pick(rng, words.daily)
    head = Line((daily,), bold=True, align="r", scale=0.85, rule=HAIR)
    if new:
        scale = float(rng.uniform(1.3, 2.0))
        large = Line((words.calories, calories), bold=True, scale=scale, rule=0.35)
        return [Line((words.amount,), bold=True, scale=0.8), large, head]
    rule = float(rng.uniform(0.05, 0.4))
    fat = f"{words.fat_calories} {calories[:-1]}" if words.fat_calories else ""
    energy = Line((f"`{words.calories}` {calories}", fat), rule=rule)
    if chance(rng, 0.3):
        return [Line((words.amount, daily), bold=True, scale=0.9, rule=HAIR), energy]
    return [Line((words.amount,), bold=True, rule=HAIR), energy, head]


def _vitamins(rng: Rng, words: Facts, pen: Pen, width: float) -> list[Image.Image]:
    """Vitamins in one column or two."""
    most = min(len(words.vitamins), 14 if chance(rng, 0.15) else 5)
    if not most:
        return []
    names = words.vitamins[: int(rng.integers(2, most + 1))]
    if chance(rng, 0.35) and len(names) % 2 == 0:
        pairs = zip(names[::2], names[1::2], strict=True)
        lines = [
            Line((f"{a} {percent(rng)}  •", f"{b} {percent(rng)}"), rule=HAIR) for a, b in pairs
        ]
    else:
        lines = [Line((f"{n} {amount(rng, 200, 0)}mg", percent(rng)), rule=HAIR) for n in names]
    lines[-1] = replace(lines[-1], rule=0.4)
    return [block(lines, pen, width)]


def _diet_table() -> list[Line]:
    """The table of recommended intakes under the panels of before 2016."""
    rows = WORDS["diet_table"]
    return [Line(row, scale=0.65, rule=0 if i else HAIR) for i, row in enumerate(rows)]
