"""Panels per serving with daily values: America, Canada, the Philippines, Thailand, Korea.

Each is a function (rng, pen) -> transparent block of type.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from PIL import Image

from training.render.arrange import beside, stacked
from training.render.fonts import scripts
from training.render.sheets import Line, Pen, block
from training.render.words import FACTS, SERVINGS, Facts

Rng = np.random.Generator
T = TypeVar("T")


def pick(rng: Rng, options: Sequence[T]) -> T:
    """One of `options`."""
    return options[int(rng.integers(len(options)))]


def chance(rng: Rng, probability: float) -> bool:
    """True with that probability."""
    return bool(rng.random() < probability)


def drawable(keys: Sequence[str], table: dict) -> list[str]:
    """Those keys whose script this machine has a typeface for."""
    return [key for key in keys if table[key].script in scripts()]


def amount(rng: Rng, largest: float, digits: int = 1, comma: bool = False) -> str:
    """A plausible value: often nought, mostly small."""
    value = 0.0 if chance(rng, 0.2) else largest * float(rng.random()) ** 1.5
    text = f"{value:.{digits}f}" if value < 100 else f"{value:.0f}"
    return text.replace(".", ",") if comma else text


def percent(rng: Rng) -> str:
    """A share of the daily value."""
    return f"{0 if chance(rng, 0.25) else int(rng.integers(1, 40))}%"


def facts_row(rng: Rng, row: str, rule: float, columns: int = 1, slim: bool = False) -> Line:
    """One nutrient of a Facts panel, `columns` daily values at the right."""
    name, unit, largest = row.split(";")
    indent = len(name) - len(name.lstrip(">"))
    name = name.lstrip(">")
    value = f"{amount(rng, float(largest), 0)}{unit}"
    name = f"`{name[1:]}` {value}" if name.startswith("*") else f"{name} {value}"
    values = tuple("" if chance(rng, 0.12) else percent(rng) for _ in range(columns))
    bold = "" if slim else "`"
    return Line((name, *(f"{bold}{v}{bold}" for v in values)), indent=indent, rule=rule)


def facts_head(rng: Rng, words: Facts, new: bool, fit: bool = True) -> list[Line]:
    """Title and serving lines."""
    heavy = float(rng.uniform(0.25, 0.75))
    serving, count = pick(rng, SERVINGS), int(rng.integers(1, 20))
    scale = 1.6 if fit else 1.3
    title = [Line((t,), bold=True, fit=fit, scale=scale) for t in words.titles]
    counted = f"{count} {words.count}" if new else f"{words.count} {count}"
    lines = [Line((counted,), rule=0)] if words.count else []
    if new:
        return [*title, *lines, Line((words.size, serving), bold=True, rule=heavy)]
    order = [Line((f"{words.size} {serving}",)), *lines]
    order[-1] = replace(order[-1], rule=heavy)
    return [*title, *order]


def facts_energy(rng: Rng, words: Facts, new: bool, columns: int = 1) -> list[Line]:
    """Amount per serving, calories, the heading of the daily values."""
    calories = str(int(rng.integers(1, 60)) * 10)
    daily = pick(rng, words.daily)
    if new:
        scale = float(rng.uniform(1.3, 2.0))
        top = [
            Line((words.amount,), bold=True, scale=0.8),
            Line((words.calories, calories), bold=True, scale=scale, rule=0.35),
        ]
    else:
        fat = f"{words.fat_calories} {calories[:-1]}" if words.fat_calories else ""
        top = [
            Line((words.amount,), bold=True, rule=0.02),
            Line((f"`{words.calories}` {calories}", fat), rule=float(rng.uniform(0.05, 0.4))),
        ]
    head = Line((daily,), bold=True, align="r", scale=0.85, rule=0.02)
    return [*top, head] if columns == 1 else top


def facts_vitamins(rng: Rng, words: Facts, pen: Pen, width: float) -> list[Image.Image]:
    """Vitamins in one column or two."""
    most = min(len(words.vitamins), 14 if chance(rng, 0.15) else 5)
    if not most:
        return []
    names = list(words.vitamins[: int(rng.integers(2, most + 1))])
    if chance(rng, 0.35) and len(names) % 2 == 0:
        pairs = zip(names[::2], names[1::2], strict=True)
        lines = [
            Line((f"{a} {percent(rng)}  •", f"{b} {percent(rng)}"), rule=0.02) for a, b in pairs
        ]
    else:
        lines = [
            Line((f"{name} {amount(rng, 200, 0)}mg", percent(rng)), rule=0.02) for name in names
        ]
    lines[-1] = replace(lines[-1], rule=0.4)
    return [block(lines, pen, width)]


def note(text: str, pen: Pen, width: float, scale: float = 0.72) -> Image.Image:
    """A footnote in small type."""
    return block([Line((text,), scale=scale)], pen, width)


def facts(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """The vertical panel."""
    words = FACTS[country]
    new = not words.fat_calories or chance(rng, 0.3)
    hair = 0.0 if chance(rng, 0.1) else 0.02
    rows = [r for r in words.rows if r.lstrip(">").startswith("*") or chance(rng, 0.75)]
    body = [facts_row(rng, row, hair) for row in rows]
    body[-1] = replace(body[-1], rule=float(rng.uniform(0.2, 0.7)))
    fit = chance(rng, 0.75)
    lines = [*facts_head(rng, words, new, fit), *facts_energy(rng, words, new), *body]
    main = block(lines, pen)
    parts = [main, *facts_vitamins(rng, words, pen, main.width)]
    if chance(rng, 0.85):
        parts.append(note(words.note, pen, main.width))
    if country == "us_old" and chance(rng, 0.35):
        parts.append(block(_diet_table(), pen, main.width))
    return stacked(parts, pen)


def _diet_table() -> list[Line]:
    rows = (
        ("", "Calories:", "2,000", "2,500"), ("Total Fat", "Less than", "65g", "80g"),
        ("  Sat Fat", "Less than", "20g", "25g"), ("Cholesterol", "Less than", "300mg", "300mg"),
        ("Sodium", "Less than", "2,400mg", "2,400mg"), ("Total Carbohydrate", "", "300g", "375g"),
        ("  Dietary Fiber", "", "25g", "30g"),
    )  # fmt: skip
    return [Line(row, scale=0.65, rule=0.02 if i == 0 else 0) for i, row in enumerate(rows)]


def facts_dual(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """Two columns of daily values: per serving and per container, or dry and with milk."""
    words = FACTS[country]
    heads = pick(
        rng, (("Per serving", "Per container"), ("Cereal", "with milk"), ("1 bar", "2 bars"))
    )
    body = [facts_row(rng, row, 0.02, columns=2, slim=True) for row in words.rows]
    calories = Line((words.calories, *(str(int(rng.integers(4, 60)) * 10) for _ in heads)),
                    bold=True, scale=1.4, rule=0.3)  # fmt: skip
    lines = [
        *facts_head(rng, words, True),
        Line(("", *heads), bold=True, rule=0.02),
        calories,
        *body,
    ]
    main = block(lines, replace(pen, grid=chance(rng, 0.5)))
    return stacked([main, note(words.note, pen, main.width)], pen)


def facts_tabular(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """The wide panel: head at the left, nutrients in two columns, footnote right or below."""
    words = FACTS[country]
    head = facts_head(rng, words, False, fit=False)
    titles = [Line((part,), bold=True, scale=1.8) for t in words.titles for part in t.split(" ", 1)]
    calories = f"`{words.calories}` {int(rng.integers(1, 60)) * 10}"
    left = block(
        [*titles, *head[len(words.titles) :], Line((calories,), scale=1.2)], pen, pen.size * 10
    )
    rows = [facts_row(rng, row, 0.02) for row in words.rows]
    half = (len(rows) + 1) // 2
    top = Line((words.amount, pick(rng, words.daily)), bold=True, scale=0.8, rule=0.3)
    columns = [block([top, *part], pen) for part in (rows[:half], rows[half:])]
    vitamins = "  •  ".join(f"{v} {percent(rng)}" for v in words.vitamins[:4])
    middle = beside(columns, pen, rule=chance(rng, 0.5))
    middle = stacked(
        [middle, block([Line((vitamins,), scale=0.9, rule=0.02)], pen, middle.width)], pen
    )
    if chance(rng, 0.6):
        return beside([left, middle, note(words.note, pen, pen.size * 9)], pen, chance(rng, 0.3))
    whole = beside([left, middle], pen, chance(rng, 0.5))
    return stacked([whole, note(words.note, pen, whole.width)], pen)


def facts_linear(rng: Rng, pen: Pen, country: str = "us") -> Image.Image:
    """Values as running text, names in bold."""
    words = FACTS[country]
    rows = [facts_row(rng, row, 0).cells for row in words.rows]
    body = ", ".join(f"{name} ({value.strip('`')})" for name, value in rows)
    text = (
        f"`{words.titles[0]}` {words.size} {pick(rng, SERVINGS)}, {words.amount}: "
        f"`{words.calories}` {int(rng.integers(1, 60)) * 10}, {body}. "
        f"{words.note if chance(rng, 0.5) else ''}"
    )
    return block([Line((text,))], pen, pen.size * float(rng.uniform(14, 45)))
