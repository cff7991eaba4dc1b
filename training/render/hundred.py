"""Panels per 100 g and per portion, as in Europe and most of the world, and badges for the front.

Each is a function (rng, pen) -> transparent block of type.
"""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from training.render.arrange import beside, stacked
from training.render.layouts import Rng, amount, chance, note, percent, pick
from training.render.sheets import Line, Pen, block
from training.render.words import ENGLISH_TITLES, LANGUAGES, SERVINGS, VITAMINS, Language

EUROPEAN = tuple("en fr de es it nl pt pl cs sv da fi hu ro tr el ru uk bg".split())
LARGEST = (0, 40, 15, 80, 40, 12, 30, 3)  # g per 100 g, in the order of Language.names
INDENTED = (2, 4)
PORTIONS = {
    "en": ("Serving size", "Servings per package"),
    "br": ("Porção", "Porções por embalagem"),
    "mx": ("Tamaño de la porción", "Porciones por envase"),
    "es": ("Porción", "Porciones por envase"),
    "id": ("Takaran saji", "Sajian per kemasan"),
    "zh": ("每份", "份数"),
}


def hundred(
    rng: Rng, pen: Pen, code: str = "en", others: tuple[str, ...] = (), columns: int = 0,
    short: bool = False,
) -> Image.Image:  # fmt: skip
    """The grid of values per 100 g, `columns` of them (0: one to three), names also in `others`."""
    words = [LANGUAGES[c] for c in (code, *others)]
    main, columns = words[0], columns or pick(rng, (1, 1, 2, 2, 2, 3))
    title = pick(rng, ENGLISH_TITLES) if code == "en" else " / ".join(w.title for w in words)
    rule = 0.0 if chance(rng, 0.3) else 0.02
    ground = pick(rng, ("", "", "accent", "tint"))
    heads = (main.per, main.portion, pick(rng, ("%*", "% RI*", "%")))[:columns]
    lines = [Line(("", *heads), bold=True, scale=0.9, ground=ground, rule=rule)]
    wanted = [i for i in range(8) if not short or i in (0, 1, 3, 6) or chance(rng, 0.2)]
    zebra, bold = chance(rng, 0.25), chance(rng, 0.4)
    for i in wanted:
        lines += _hundred_rows(rng, words, i, columns, bold, rule)
    if code == "en" and not short and chance(rng, 0.15):
        for name in rng.permutation(VITAMINS)[: int(rng.integers(2, 10))]:
            values = tuple(f"{amount(rng, 9)} mg" for _ in heads)
            lines.append(Line((str(name), *values), rule=rule))
    if zebra:
        lines[1:] = [replace(r, ground="tint" if i % 2 else "") for i, r in enumerate(lines[1:])]
    return _hundred_sheet(rng, pen, lines, title, main.note, short, PORTIONS.get(code, ()))


def _portions(rng: Rng, names: tuple[str, str]) -> list[Line]:
    """How much a serving is and how many are in the pack."""
    values = pick(rng, SERVINGS), str(int(rng.integers(1, 20)))
    spread = chance(rng, 0.3)
    pairs = zip(names, values, strict=True)
    lines = [Line(pair) if spread else Line((": ".join(pair),)) for pair in pairs]
    lines[-1] = replace(lines[-1], rule=pick(rng, (0.02, 0.2)))
    return lines


def _hundred_sheet(
    rng: Rng, pen: Pen, lines: list[Line], title: str, text: str, short: bool,
    portions: tuple[str, str] | tuple[()],
) -> Image.Image:  # fmt: skip
    main = block(lines, pen)
    parts = [main]
    if portions and chance(rng, 0.4):
        parts.insert(0, block(_portions(rng, portions), pen, main.width))
    if chance(rng, 0.85):
        head = Line(
            (title.upper() if chance(rng, 0.3) else title,),
            bold=True,
            fit=chance(rng, 0.3),
            scale=float(rng.uniform(0.95, 1.4)),
            align=pick(rng, "lm"),
            rule=pick(rng, (0, 0.02)),
            ground=pick(rng, ("", "", "accent")),
        )
        parts.insert(0, block([head], pen, main.width))
    if chance(rng, 0.5) and not short:
        parts.append(note(text, pen, main.width, 0.8))
    return stacked(parts, pen)


def _hundred_rows(
    rng: Rng, words: Sequence[Language], i: int, columns: int, bold: bool, rule: float
) -> list[Line]:
    comma = words[0].comma
    name = " / ".join(w.names[i] for w in words)
    if i == 0:
        kcal = [int(rng.integers(20, 600)) for _ in range(min(columns, 2))]
        share = (percent(rng),) if columns == 3 else ()
        if chance(rng, 0.5):
            values = tuple(f"{round(k * 4.184)} kJ / {k} kcal" for k in kcal)
            return [Line((name, *values, *share), bold=bold, rule=rule)]
        blank = ("",) * len(share)
        first = Line((name, *(f"{round(k * 4.184)} kJ" for k in kcal), *blank), bold=bold)
        return [first, Line(("", *(f"{k} kcal" for k in kcal), *share), rule=rule)]
    values = tuple(f"{amount(rng, LARGEST[i], 1, comma)} g" for _ in range(min(columns, 2)))
    share = (percent(rng),) if columns == 3 else ()
    indent = 0.7 if i in INDENTED else 0.0
    return [Line((name, *values, *share), bold and i not in INDENTED, indent=indent, rule=rule)]


# -- front of pack


def energy_badges(rng: Rng, pen: Pen) -> Image.Image:
    """Lozenges with energy, fat, saturates, sugars and salt, perhaps as traffic lights."""
    language = LANGUAGES[pick(rng, ("en", "en", "de", "fr", "es", "nl"))]
    wanted = (0,) if chance(rng, 0.35) else (0, 1, 2, 4, 7)
    lights = chance(rng, 0.6)
    colours = [(70, 170, 70), (240, 170, 40), (220, 50, 45)]
    tiles = []
    for i in wanted:
        tint = pick(rng, colours) if lights and i else (255, 255, 255)
        look = replace(pen, tint=tint, ink=(20, 20, 20), stretch=1.0)
        kcal = int(rng.integers(20, 400))
        value = f"{amount(rng, LARGEST[i])}g" if i else f"{kcal} kcal"
        extra = [Line((f"{round(kcal * 4.184)} kJ",), align="m", ground="tint")] if not i else []
        name = language.names[i].split()[-1]
        cells = [
            Line((name,), bold=True, align="m", ground="tint", scale=0.85),
            *extra,
            Line((value,), bold=True, align="m", ground="tint", scale=1.2),
            Line((percent(rng),), align="m", ground="tint", rule=0.05),
        ]
        tiles.append(block(cells, look, pen.size * 5.5))
    strip = beside(tiles, pen)
    return (
        stacked([note(language.portion, pen, strip.width, 0.9), strip], pen)
        if chance(rng, 0.6)
        else strip
    )
