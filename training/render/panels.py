"""Nutrition panels: a layout, a pen, and the label that goes with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from training.render import facts, hundred
from training.render.arrange import framed
from training.render.colours import (
    RGB,
    WHITE,
    contrasting,
    luminance,
    mixed,
    pack_colour,
    rgb,
    shaded,
)
from training.render.dice import Rng, chance, pick, weighted
from training.render.fonts import scripts, typefaces
from training.render.sheets import Pen
from training.render.words import FACTS, LANGUAGES

LONG_SIDE = (250, 700)
TABLE, TEXT, SMALL, ENERGY = (
    "nutrition-table",
    "nutrition-table-text",
    "nutrition-table-small",
    "nutrition-table-small-energy",
)  # the four classes of the data set, nutrition_vl.boxes.LABELS


@dataclass(frozen=True)
class Layout:
    """One way to lay out a panel: how often, its script, its label, the function that sets it."""

    weight: float
    script: str
    label: str
    draw: Callable[[Rng, Pen], Image.Image]


def _facts(
    country: str, weight: float, form: Callable = facts.vertical, label: str = TABLE
) -> Layout:
    return Layout(weight, FACTS[country].script, label, partial(form, country=country))


def _hundred(
    code: str, weight: float, form: Callable = hundred.table, label: str = TABLE, **options: int
) -> Layout:
    return Layout(weight, LANGUAGES[code].script, label, partial(form, code=code, **options))


LAYOUTS: dict[str, Layout] = {
    "us": _facts("us", 20),
    "us_old": _facts("us_old", 14),
    "philippines": _facts("philippines", 12),
    "canada": _facts("canada", 4),
    "us_spanish": _facts("us_spanish", 2),
    "thai": _facts("thai", 3),
    "thai_english": _facts("thai_english", 2),
    "korean": _facts("korean", 3),
    "indonesia": _facts("indonesia", 2),
    "supplement": _facts("supplement", 1.5),
    "dual": _facts("us", 2, facts.dual),
    "tabular": _facts("us", 4, facts.tabular),
    "tabular_old": _facts("us_old", 4, facts.tabular),
    "tabular_asia": _facts("philippines", 2, facts.tabular),
    "linear": _facts("us", 1.5, facts.linear, TEXT),
    **{f"hundred_{code}": _hundred(code, 6 if code == "en" else 1.2) for code in LANGUAGES},
    "hundred_two": _hundred("en", 3, columns=2),
    "servings_en": _hundred("en", 5, hundred.servings),
    **{f"servings_{c}": _hundred(c, 1, hundred.servings) for c in ("br", "mx", "es", "id", "zh")},
    **{
        f"flat_{code}": _hundred(code, 0.5, hundred.flat) for code in ("en", "fr", "de", "it", "ja")
    },
    "bilingual": Layout(4, "latin", TABLE, hundred.bilingual),
    "small": _hundred("en", 1.0, label=SMALL, columns=1, short=True),
    "small_de": _hundred("de", 0.5, label=SMALL, columns=1, short=True),
    "energy": Layout(2.0, "latin", ENERGY, hundred.badges),
}


def panel(rng: Rng, pack: RGB | None = None, name: str | None = None) -> tuple[Image.Image, str]:
    """One panel as RGBA, cropped to its hull, 250-700 px long, and its label.

    `pack` is the colour behind it, which decides what a panel without paper is printed in;
    `name` asks for one of `LAYOUTS`.
    """
    able = [(key, layout.weight) for key, layout in LAYOUTS.items() if layout.script in scripts()]
    layout = LAYOUTS[name or weighted(rng, able)]
    pen = _pen(rng, layout.script, pack or pack_colour(rng))
    if layout.label == ENERGY:
        pen = replace(pen, paper=None, frame=0)
    return _sized(rng, framed(layout.draw(rng, pen), pen)), layout.label


def _paper(rng: Rng, pack: RGB) -> RGB | None:
    """White mostly, or the pack's colour lightened or darkened, or none."""
    roll = rng.random()
    if roll < 0.66:
        white = int(rng.integers(232, 256))
        return (white, white, white - int(rng.integers(0, 12)))
    if roll < 0.77:
        return mixed(WHITE, pack, float(rng.uniform(0.1, 0.35)))
    if roll < 0.81:
        return shaded(pack, float(rng.uniform(0.2, 0.7)))
    return None


def _pen(rng: Rng, script: str, pack: RGB) -> Pen:
    paper = _paper(rng, pack)
    ground = paper or pack
    ink = contrasting(rng, ground)
    plain = luminance(ground) > 200 and chance(rng, 0.6)
    ink = (10, 10, 10) if plain else ink
    accent = ink if chance(rng, 0.6) else rgb(rng.integers(0, 140, 3))
    size = float(rng.uniform(9.5, 13.0))
    tint = mixed(ground, ink, 0.18)
    return Pen(
        face=pick(rng, typefaces(script)), size=size, ink=ink, paper=paper, accent=accent,
        accent_ink=ground if accent == ink else (255, 255, 255), tint=tint,
        leading=float(rng.uniform(1.1, 1.6)), hairline=1, grid=chance(rng, 0.25),
        frame=pick(rng, (0, 1, 1, 1, 2)) if paper else pick(rng, (0, 0, 1, 1, 2)),
        radius=int(size * rng.uniform(0.3, 1.2)) if chance(rng, 0.15) else 0,
        rtl=script in ("arabic", "hebrew"), stretch=float(1 + 0.7 * rng.random() ** 3),
    )  # fmt: skip


def _sized(rng: Rng, image: Image.Image) -> Image.Image:
    """Squeezed or widened a little, as condensed type does, and brought to the allowed size."""
    width, height = image.width * float(rng.uniform(0.62, 1.1)), float(image.height)
    low, high = LONG_SIDE
    scale = min(max(max(width, height), low), high) / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.5)
