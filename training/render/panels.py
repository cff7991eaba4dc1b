"""Nutrition panels: a layout, a pen, and the label that goes with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from training.render import hundred, layouts
from training.render.arrange import framed
from training.render.fonts import scripts, typefaces
from training.render.hundred import EUROPEAN
from training.render.layouts import Rng, chance, drawable, pick
from training.render.sheets import RGB, Pen, rgb
from training.render.words import FACTS, LANGUAGES

Form = Callable[[Rng, Pen, str], Image.Image]
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


def _facts(country: str, weight: float, form: Form = layouts.facts, label: str = TABLE) -> Layout:
    return Layout(weight, FACTS[country].script, label, lambda rng, pen: form(rng, pen, country))


def _per_hundred(
    code: str, weight: float, label: str = TABLE, columns: int = 0, short: bool = False
) -> Layout:
    def draw(rng: Rng, pen: Pen) -> Image.Image:
        return hundred.hundred(rng, pen, code, columns=columns, short=short)

    return Layout(weight, LANGUAGES[code].script, label, draw)


def _bilingual(rng: Rng, pen: Pen) -> Image.Image:
    codes = drawable(EUROPEAN, LANGUAGES)
    first = [c for c in codes if LANGUAGES[c].script == "latin"]
    chosen = [str(c) for c in rng.permutation(first)[: int(rng.integers(2, 4))]]
    return hundred.hundred(rng, pen, chosen[0], tuple(chosen[1:]))


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
    "dual": _facts("us", 2, layouts.facts_dual),
    "tabular": _facts("us", 4, layouts.facts_tabular),
    "tabular_old": _facts("us_old", 4, layouts.facts_tabular),
    "tabular_asia": _facts("philippines", 2, layouts.facts_tabular),
    "linear": _facts("us", 1.5, layouts.facts_linear, TEXT),
    **{f"hundred_{code}": _per_hundred(code, 7 if code == "en" else 1.2) for code in LANGUAGES},
    "hundred_two": _per_hundred("en", 4, columns=2),
    "bilingual": Layout(4, "latin", TABLE, _bilingual),
    "small": _per_hundred("en", 1.0, SMALL, columns=1, short=True),
    "small_de": _per_hundred("de", 0.5, SMALL, columns=1, short=True),
    "energy": Layout(2.0, "latin", ENERGY, hundred.energy_badges),
}


def panel(rng: Rng, pack: RGB | None = None, name: str | None = None) -> tuple[Image.Image, str]:
    """One panel as RGBA, cropped to its hull, 250-700 px long, and its label.

    `pack` is the colour behind it, which decides what a panel without paper is printed in;
    `name` asks for one of `LAYOUTS`.
    """
    layout = LAYOUTS[name or _any(rng)]
    pack = pack or rgb(rng.integers(0, 256, 3))
    pen = _pen(rng, layout.script, pack)
    if layout.label == ENERGY:
        pen = replace(pen, paper=None, frame=0)
    return _sized(rng, framed(layout.draw(rng, pen), pen)), layout.label


def _any(rng: Rng) -> str:
    names = [name for name, layout in LAYOUTS.items() if layout.script in scripts()]
    weights = np.array([LAYOUTS[name].weight for name in names])
    return str(rng.choice(names, p=weights / weights.sum()))


def luminance(colour: RGB) -> float:
    """Rec. 601 luma, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def contrasting(rng: Rng, ground: RGB) -> RGB:
    """An ink that reads on `ground`."""
    if luminance(ground) < 115:
        return pick(
            rng,
            ((255, 255, 255), (255, 255, 255), (245, 235, 205), (255, 225, 90), (205, 225, 245)),
        )
    return pick(
        rng,
        (
            (0, 0, 0),
            (0, 0, 0),
            (25, 25, 30),
            (30, 45, 120),
            (80, 40, 20),
            (130, 20, 25),
            (20, 80, 45),
        ),
    )


def _paper(rng: Rng, pack: RGB) -> RGB | None:
    roll = rng.random()
    if roll < 0.66:
        white = int(rng.integers(232, 256))
        return (white, white, white - int(rng.integers(0, 12)))
    if roll < 0.77:
        return rgb(255 - (255 - np.array(pack)) * rng.uniform(0.1, 0.35))
    if roll < 0.81:
        return rgb(np.array(pack) * rng.uniform(0.2, 0.7))
    return None


def _pen(rng: Rng, script: str, pack: RGB) -> Pen:
    paper = _paper(rng, pack)
    ground = paper or pack
    ink = contrasting(rng, ground)
    plain = luminance(ground) > 200 and chance(rng, 0.6)
    ink = (10, 10, 10) if plain else ink
    accent = ink if chance(rng, 0.6) else rgb(rng.integers(0, 140, 3))
    size = float(rng.uniform(9.5, 13.0))
    tint = rgb(np.array(ground) * 0.82 + np.array(ink) * 0.18)
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
