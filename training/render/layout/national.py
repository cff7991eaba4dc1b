"""Tables as single countries lay them out, from Korea to Brazil.

A layout is a function (rng, pen) -> transparent block.
"""

from dataclasses import replace

from PIL import Image

from training.render.layout.arrange import boxed, note, side_by_side, stacked
from training.render.layout.dice import Rng, amount, chance, percent, pick
from training.render.layout.sheets import HAIR, Line, Pen, block
from training.render.layout.words import FACTS, LANGUAGES, NATIONAL


def korean(rng: Rng, pen: Pen) -> Image.Image:
    """The Korean box: title left, contents and kcal at the top right, nutrients in two columns."""
    words = FACTS["korean"]
    body = _korean_rows(rng, pen)
    kcal, grams = (int(rng.integers(2, most)) * 10 for most in (70, 60))
    size = f"{words.size} {grams} g"
    per = pick(rng, (f"{int(rng.integers(1, 12)) * 10} g당", "100 g당", words.amount))
    top = pick(rng, ("accent", "accent", ""))
    title = [Line((words.titles[0],), True, float(rng.uniform(1.6, 2.6)), ground=top)]
    large = float(rng.uniform(0.9, 1.2))
    pairs = ((size, 0.8), (f"{per} `{kcal} kcal`", large))
    facts = [Line((text,), align="r", scale=scale, ground=top) for text, scale in pairs]
    width = max(body.width, pen.size * 16)
    left, right = block(title, pen, width * 0.45), block(facts, pen, width * 0.55)
    height = max(left.height, right.height)
    head = Image.new("RGBA", (left.width + right.width, height), (*pen.ink, 0))
    if top:
        head.paste((*pen.accent, 255), (0, 0, *head.size))
    head.alpha_composite(left, (0, (height - left.height) // 2))
    head.alpha_composite(right, (left.width, (height - right.height) // 2))
    parts = [head, body]
    if chance(rng, 0.85):
        parts.append(note(words.note, pen, head.width, float(rng.uniform(0.6, 0.8))))
    return boxed(stacked(parts, pen), pen)


def _korean_rows(rng: Rng, pen: Pen) -> Image.Image:
    """Nutrients in one column, in two, or running on."""
    rows = [row.split(";") for row in FACTS["korean"].rows]
    cells = [
        (f"`{n.strip('>*')}` {amount(rng, float(most), 0)}{unit}", f"`{percent(rng)}`")
        for n, unit, most in rows
    ]
    kind, rule = int(rng.integers(5)), pick(rng, (0.0, HAIR, HAIR))
    if kind == 0:
        text = "  ".join(" ".join(cell) for cell in cells)
        return block([Line((text,), rule=0.05)], pen, pen.size * float(rng.uniform(14, 30)))
    if kind < 3:
        cells_above = (FACTS["korean"].amount, pick(rng, FACTS["korean"].daily))
        head = Line(cells_above, scale=0.75, rule=0.1)
        return block([head, *(Line(cell, rule=rule) for cell in cells)], pen)
    halves = [[Line(cell, rule=rule) for cell in part] for part in (cells[::2], cells[1::2])]
    width = pen.size * float(rng.uniform(9, 13))
    return side_by_side([block(half, pen, width) for half in halves], pen, rule=chance(rng, 0.6))


def japanese(rng: Rng, pen: Pen) -> Image.Image:
    """栄養成分表示: five or six rows in a frame, or the same on one line."""
    words = NATIONAL["japanese"]
    unit = pick(rng, words.units).format(int(rng.integers(1, 30)) * 10)
    values = _values(rng, words.names)
    if chance(rng, 0.3):
        text = f"`{words.title}`（{unit}） " + "、".join(f"{n} {v}" for n, v in values)
        return block([Line((text,))], pen, pen.size * float(rng.uniform(12, 26)))
    rule, align = pick(rng, (0.0, 0.0, HAIR)), pick(rng, "lm")
    head = [
        Line((words.title,), chance(rng, 0.6), float(rng.uniform(1, 1.3)), align=align),
        Line((f"（{unit}）",), scale=0.9, align=align, rule=pick(rng, (0.0, HAIR))),
    ]
    rows = [Line((name, value), rule=rule) for name, value in values]
    if chance(rng, 0.4):
        rows.append(Line((words.note,), scale=0.7))
    table = block([*head, *rows], pen)
    return boxed(table, pen) if chance(rng, 0.8) else table


def chinese(rng: Rng, pen: Pen, region: str = "china") -> Image.Image:
    """China's table of three columns, and those of Taiwan and Hong Kong."""
    words = NATIONAL[region]
    columns, rule = len(words.heads), pick(rng, (HAIR, HAIR, 0.0))
    shares = "%" in words.heads[-1]
    scale = float(rng.uniform(1.0, 1.5))
    lines = [Line((words.title,), True, scale, align=pick(rng, "mml"), rule=HAIR)]
    if words.units:
        lines += [Line((unit.format(int(rng.integers(1, 30))),), rule=0) for unit in words.units]
        lines[-1] = replace(lines[-1], rule=HAIR)
    first = words.corner if chance(rng, 0.8) else ""
    bold, ground = chance(rng, 0.3), pick(rng, ("", "", "tint"))
    lines.append(Line((first, *words.heads), bold, 0.9, rule=rule, ground=ground))
    for name, value in _values(rng, words.names):
        others = [percent(rng) if shares else value for _ in range(columns - 1)]
        lines.append(Line((name, value, *others), rule=rule))
    grid = chance(rng, 0.5)
    out = block(lines, replace(pen, grid=grid))
    return boxed(out, pen) if grid or chance(rng, 0.7) else out


def brazil(rng: Rng, pen: Pen) -> Image.Image:
    """Brazil's table of 2022: heavy rules, per 100 g, per portion and share of the day."""
    words, language = NATIONAL["brazil"], LANGUAGES["br"]
    grams = int(rng.integers(2, 50)) * 5
    title = words.title.upper() if chance(rng, 0.7) else words.title
    lines = [Line((title,), True, 1.3, align=pick(rng, "ml"), rule=0.12)]
    lines.append(Line((words.units[0].format(int(rng.integers(1, 20))),)))
    lines.append(Line((words.units[1].format(grams),), rule=0.25))
    own, hundred = (f"{grams} g", "%VD*"), f"100 {pick(rng, ('g', 'ml'))}"
    heads = pick(rng, ((hundred, *own), own))
    lines.append(Line(("", *heads), True, rule=HAIR))
    for name, value in _values(rng, words.names):
        indent = 0.6 * name.startswith(">")
        cells = (value.split()[0] if chance(rng, 0.8) else value for _ in heads[1:])
        lines.append(Line((name.strip(">"), *cells, percent(rng)), indent=indent, rule=HAIR))
    lines[-1] = replace(lines[-1], rule=0.25)
    main = block(lines, replace(pen, grid=chance(rng, 0.5)))
    text = words.note if chance(rng, 0.8) else language.note
    whole = stacked([main, note(text, pen, main.width)], pen)
    return boxed(whole, replace(pen, hairline=pick(rng, (1, 2))))


def gulf(rng: Rng, pen: Pen) -> Image.Image:
    """English at the left, the values, Arabic at the right."""
    english, arabic = LANGUAGES["en"], LANGUAGES["ar"]
    rule = pick(rng, (0.0, HAIR, HAIR))
    pen = replace(pen, rtl=False)
    scale = float(rng.uniform(1.0, 1.4))
    title = Line((english.title, arabic.title), True, scale, rule=pick(rng, (HAIR, 0.2)))
    head = Line((english.per, pick(rng, ("100 g", "30 g", "")), arabic.per), True, 0.85, rule=rule)
    rows = [title, head]
    for i, (first, second) in enumerate(zip(english.names, arabic.names, strict=True)):
        value = f"{int(rng.integers(20, 600))} kcal" if i == 0 else f"{amount(rng, 50)} g"
        rows.append(Line((first, value, second), rule=rule))
    main = block(rows, replace(pen, grid=chance(rng, 0.4)))
    return boxed(main, pen) if chance(rng, 0.7) else main


def _values(rng: Rng, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each "name;unit;largest" with an amount; now and then one of the later ones is left out."""
    out = []
    for i, entry in enumerate(names):
        name, unit, most = entry.split(";")
        if i > 4 and chance(rng, 0.2):
            continue
        digits = 0 if float(most) > 100 else 1
        out.append((name, f"{amount(rng, float(most), digits)} {unit}".strip()))
    return out
