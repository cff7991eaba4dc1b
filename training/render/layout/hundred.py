"""Tables per 100 g and per portion, as in Europe and most of the world, and badges of energy.

A layout is a function (rng, pen, code) -> transparent block; `code` is a key of LANGUAGES.
"""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from training.render.layout.arrange import boxed, note, side_by_side, stacked
from training.render.layout.dice import Rng, amount, chance, percent, pick
from training.render.layout.sheets import HAIR, Line, Pen, block
from training.render.layout.words import LANGUAGES, WORDS, Language

EUROPEAN = tuple("en fr de es it nl pt pl cs sv da fi hu ro tr el ru uk bg".split())
LARGEST = (0, 40, 15, 80, 40, 12, 30, 3)  # g per 100 g, in the order of Language.names
INDENTED = (2, 4)  # saturates, sugars
SHORT = (0, 1, 3, 6)  # energy, fat, carbohydrate, protein
HEADINGS = ("Vitamins", "Minerals", "Vitamins & minerals", "Micronutrients", "Vitamines")
GREEN, AMBER, RED = (70, 170, 70), (240, 170, 40), (220, 50, 45)


def table(
    rng: Rng, pen: Pen, code: str = "en", columns: int = 0, short: bool = False
) -> Image.Image:
    """One language; `columns` of values (0: one to three), the four main nutrients if `short`."""
    words = [LANGUAGES[code]]
    columns = columns or pick(rng, (1, 1, 2, 2, 2, 3))
    lines = _rows(rng, words, columns, short)
    title = pick(rng, WORDS["english_titles"]) if code == "en" else words[0].title
    if words[0].script == "latin" and not short and chance(rng, 0.2):
        lines += _vitamins(rng, columns, lines[-1].rule)
    return _sheet(rng, pen, lines, title, words[0].note if not short and chance(rng, 0.5) else "")


def servings(rng: Rng, pen: Pen, code: str = "en") -> Image.Image:
    """Australia, much of Asia and Latin America: how many servings first, then per serving."""
    language = LANGUAGES[code]
    words = [replace(language, per=language.portion, portion=language.per)]
    title = pick(rng, WORDS["english_titles"]) if code == "en" else language.title
    lines = [
        *_portions(rng, WORDS["portions"][code]),
        *_rows(rng, words, pick(rng, (1, 2, 2)), False),
    ]
    return _sheet(rng, pen, lines, title, "")


def bilingual(rng: Rng, pen: Pen) -> Image.Image:
    """Names and title in two or three languages."""
    latin = [LANGUAGES[code] for code in EUROPEAN if LANGUAGES[code].script == "latin"]
    words = [latin[i] for i in rng.permutation(len(latin))[: int(rng.integers(2, 4))]]
    lines = _rows(rng, words, pick(rng, (1, 2, 2, 3)), False)
    title = " / ".join(w.title for w in words)
    return _sheet(rng, pen, lines, title, words[0].note if chance(rng, 0.4) else "")


def multilingual(rng: Rng, pen: Pen) -> Image.Image:
    """Each nutrient in two to four languages below each other, the values next to the first."""
    latin = [LANGUAGES[code] for code in EUROPEAN if LANGUAGES[code].script == "latin"]
    words = [latin[i] for i in rng.permutation(len(latin))[: int(rng.integers(2, 5))]]
    columns, lines = pick(rng, (1, 2, 2, 3)), list[Line]()
    for row in _rows(rng, words[:1], columns, False):
        lines += _translated(row, words, columns)
    title = pick(rng, (" / ", " - ", " ")).join(w.title for w in words)
    text = " ".join(w.note for w in words[: int(rng.integers(0, 3))])
    return _sheet(rng, replace(pen, leading=pen.leading * 0.9), lines, title, text)


def _translated(row: Line, words: Sequence[Language], columns: int) -> list[Line]:
    """The row of the first language, and below it the names in the others."""
    first, blank = words[0], ("",) * (len(row.cells) - 1)
    if row.cells[0] in first.names:
        place = first.names.index(row.cells[0])
        more = [Line((w.names[place], *blank), row.bold, indent=row.indent) for w in words[1:]]
    elif row.bold and first.per in row.cells:
        heads = [(w.per, w.portion)[: min(columns, 2)] for w in words[1:]]
        more = [Line(("", *h, *blank[len(h) :]), True, row.scale) for h in heads]
    else:
        return [row]
    more = [replace(line, ground=row.ground) for line in more]
    more[-1] = replace(more[-1], rule=row.rule)
    return [replace(row, rule=0.0), *more]


def flat(rng: Rng, pen: Pen, code: str = "en") -> Image.Image:
    """The table laid on its side: nutrients across, values below them."""
    language = LANGUAGES[code]
    wanted = range(8) if chance(rng, 0.5) else (*SHORT, 7)
    names = tuple(language.names[i].rsplit(" ", 1)[-1] for i in wanted)
    rule, ground = pick(rng, (0.0, HAIR, HAIR)), pick(rng, ("", "accent", "tint"))
    lines = [Line((" ", *names), bold=True, scale=0.85, rule=rule, ground=ground)]
    for head in (language.per, language.portion)[: pick(rng, (1, 2))]:
        energy = f"{int(rng.integers(20, 600))} kcal"
        values = (
            amount(rng, LARGEST[i], 1, language.comma) + " g" if i else energy for i in wanted
        )
        lines.append(Line((head, *values), rule=rule))
    return _sheet(rng, replace(pen, stretch=1.0), lines, language.title, "")


def badges(rng: Rng, pen: Pen) -> Image.Image:
    """Lozenges on the front: energy, fat, saturates, sugars and salt, maybe as traffic lights."""
    language = LANGUAGES[pick(rng, ("en", "en", "de", "fr", "es", "nl"))]
    wanted = (0,) if chance(rng, 0.35) else (0, 1, 2, 4, 7)
    lights = chance(rng, 0.6)
    tiles = []
    for i in wanted:
        tint = pick(rng, (GREEN, AMBER, RED)) if lights and i else (255, 255, 255)
        look = replace(pen, tint=tint, ink=(20, 20, 20))
        tiles.append(block(_badge(rng, language, i), look, pen.size * 5.5))
    strip = side_by_side(tiles, pen)
    if chance(rng, 0.4):
        return strip
    return stacked([note(language.portion, pen, strip.width, 0.9), strip], pen)


# -- parts


def _badge(rng: Rng, language: Language, i: int) -> list[Line]:
    kcal = int(rng.integers(20, 400))
    value = f"{amount(rng, LARGEST[i])}g" if i else f"{kcal} kcal"
    base = Line(("",), align="m", ground="tint")
    joules = [] if i else [replace(base, cells=(f"{round(kcal * 4.184)} kJ",))]
    return [
        replace(base, cells=(language.names[i].split()[-1],), bold=True, scale=0.85),
        *joules,
        replace(base, cells=(value,), bold=True, scale=1.2),
        replace(base, cells=(percent(rng),), rule=0.05),
    ]


def _portions(rng: Rng, names: tuple[str, str]) -> list[Line]:
    """How much a serving is and how many are in the pack."""
    values = pick(rng, WORDS["servings"]), str(int(rng.integers(1, 20)))
    pairs = list(zip(names, values, strict=True))
    lines = [Line(p) if chance(rng, 0.15) else Line((": ".join(p),)) for p in pairs]
    lines[-1] = replace(lines[-1], rule=pick(rng, (0.0, HAIR, 0.2)))
    return lines


def _rows(rng: Rng, words: Sequence[Language], columns: int, short: bool) -> list[Line]:
    """Header and nutrients, plain, ruled or striped."""
    rule, bold = (0.0 if chance(rng, 0.3) else HAIR), chance(rng, 0.4)
    heads = (words[0].per, words[0].portion, pick(rng, ("%*", "% RI*", "%")))[:columns]
    head = Line(("", *heads), True, 0.9, rule=rule, ground=pick(rng, ("", "", "accent", "tint")))
    if chance(rng, 0.3):
        corner = (
            pick(rng, WORDS["english_titles"]) if words[0] is LANGUAGES["en"] else words[0].title
        )
        head = replace(head, cells=(corner, *heads))
    wanted = [i for i in range(8) if not short or i in SHORT or chance(rng, 0.2)]
    body = [line for i in wanted for line in _nutrient(rng, words, i, columns, bold, rule)]
    if chance(rng, 0.25):
        body = [replace(line, ground="tint" if i % 2 else "") for i, line in enumerate(body)]
    return [head, *body]


def _nutrient(
    rng: Rng, words: Sequence[Language], i: int, columns: int, bold: bool, rule: float
) -> list[Line]:
    name = " / ".join(language.names[i] for language in words)
    share = (percent(rng),) if columns == 3 else ()
    if i == 0:
        return _energy(rng, name, min(columns, 2), share, bold, rule)
    values = (amount(rng, LARGEST[i], 1, words[0].comma) + " g" for _ in range(min(columns, 2)))
    inner = i in INDENTED
    return [Line((name, *values, *share), bold and not inner, indent=0.7 * inner, rule=rule)]


def _energy(rng: Rng, name: str, number: int, share: tuple, bold: bool, rule: float) -> list[Line]:
    """Kilojoules and kilocalories, in one row or two."""
    kcal = [int(rng.integers(20, 600)) for _ in range(number)]
    if chance(rng, 0.5):
        values = (f"{round(k * 4.184)} kJ / {k} kcal" for k in kcal)
        return [Line((name, *values, *share), bold, rule=rule)]
    blank = ("",) * len(share)
    first = Line((name, *(f"{round(k * 4.184)} kJ" for k in kcal), *blank), bold)
    return [first, Line(("", *(f"{k} kcal" for k in kcal), *share), rule=rule)]


def _vitamins(rng: Rng, columns: int, rule: float) -> list[Line]:
    """More rows below the eight, up to twice as many, below a heading of their own or none."""
    names = rng.permutation(WORDS["vitamins"])[: int(rng.integers(2, 17))]
    values = [tuple(f"{amount(rng, 9)} mg" for _ in range(columns)) for _ in names]
    rows = [Line((str(name), *cells), rule=rule) for name, cells in zip(names, values, strict=True)]
    if chance(rng, 0.5):
        return rows
    ground = pick(rng, ("", "tint", "accent"))
    return [Line((pick(rng, HEADINGS),), True, pick(rng, (1.0, 1.2)), ground=ground), *rows]


def _sheet(rng: Rng, pen: Pen, lines: list[Line], title: str, text: str) -> Image.Image:
    """The table below its title and above its footnote, boxed alone now and then."""
    main = block(lines, pen)
    if not pen.frame and chance(rng, 0.5):
        main = boxed(main, pen)
    parts = [main]
    if chance(rng, 0.8):
        head = Line(
            (title.upper() if chance(rng, 0.3) else title,), True, float(rng.uniform(0.95, 1.4)),
            rule=pick(rng, (0, HAIR)), align=pick(rng, "lm"),
            ground=pick(rng, ("", "", "", "accent")), fit=chance(rng, 0.25),
        )  # fmt: skip
        parts.insert(0, block([head], pen, main.width))
    if text:
        parts.append(note(text, pen, main.width, 0.8))
    return stacked(parts, pen)
