"""Nutrition panels: a layout, a pen, and the label that goes with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from training.render.layout import facts, hundred, national
from training.render.layout.arrange import framed
from training.render.layout.colours import (
    RGB,
    WHITE,
    contrasting,
    luminance,
    mixed,
    pack_colour,
    rgb,
    shaded,
)
from training.render.layout.dice import Rng, chance, pick, weighted
from training.render.layout.fonts import scripts, typefaces
from training.render.layout.sheets import Pen
from training.render.layout.words import FACTS, LANGUAGES

LONG_SIDE = (250, 700)
PER_HUNDRED = ("hundred", "flat", "bilingual", "multilingual", "servings")
FAR = ("ar", "he", "ja", "zh", "ko", "th")  # languages whose shops are drawn more often
# The four classes of the data set, nutrition_vl.boxes.LABELS.
TABLE = "nutrition-table"
TEXT, SMALL, ENERGY = (f"{TABLE}-{kind}" for kind in ("text", "small", "small-energy"))


@dataclass(frozen=True)
class Layout:
    """One way to lay out a panel: how often, its script, its label, the function that sets it, and
    the key of LANGUAGES that text around it is likely to be in."""

    weight: float
    script: str
    label: str
    draw: Callable[[Rng, Pen], Image.Image]
    language: str = "en"


@dataclass(frozen=True)
class Style:
    """The style of a panel and of the text around it: the typeface (a number, for each script to
    choose by), the ink, the leading.  Such a panel has no paper of its own."""

    family: int
    ink: RGB
    leading: float


SPOKEN = {"us_spanish": "mx", "thai": "th", "korean": "ko", "indonesia": "id"}


def _facts(
    country: str, weight: float, form: Callable = facts.vertical, label: str = TABLE
) -> Layout:
    language = SPOKEN.get(country, "en")
    return Layout(weight, FACTS[country].script, label, partial(form, country=country), language)


def _hundred(
    code: str, weight: float, form: Callable = hundred.table, label: str = TABLE, **options: int
) -> Layout:
    setting = partial(form, code=code, **options)
    return Layout(weight, LANGUAGES[code].script, label, setting, code)


LAYOUTS: dict[str, Layout] = {
    "us": _facts("us", 20),
    "us_old": _facts("us_old", 14),
    "philippines": _facts("philippines", 12),
    "canada": _facts("canada", 4),
    "us_spanish": _facts("us_spanish", 2),
    "thai": _facts("thai", 5),
    "thai_english": _facts("thai_english", 4),
    "korean": _facts("korean", 2),
    "korean_box": Layout(8, "korean", TABLE, national.korean, "ko"),
    "japanese_box": Layout(6, "japanese", TABLE, national.japanese, "ja"),
    **{
        f"{region}_box": Layout(3, "chinese", TABLE, partial(national.chinese, region=region), "zh")
        for region in ("china", "china_nrv", "taiwan", "hong_kong")
    },
    "brazil_2022": Layout(6, "latin", TABLE, national.brazil, "br"),
    "gulf": Layout(3, "arabic", TABLE, national.gulf, "ar"),
    "indonesia": _facts("indonesia", 2),
    "supplement": _facts("supplement", 1.5),
    "dual": _facts("us", 2, facts.dual),
    "tabular": _facts("us", 4, facts.tabular),
    "tabular_old": _facts("us_old", 4, facts.tabular),
    "tabular_asia": _facts("philippines", 2, facts.tabular),
    "linear": _facts("us", 1.5, facts.linear, TEXT),
    **{
        f"hundred_{code}": _hundred(code, 6 if code == "en" else 2.5 if code in FAR else 1.5)
        for code in LANGUAGES
    },
    "hundred_two": _hundred("en", 3, columns=2),
    "servings_en": _hundred("en", 5, hundred.servings),
    **{f"servings_{c}": _hundred(c, 1, hundred.servings) for c in ("br", "mx", "es", "id", "zh")},
    **{
        f"flat_{code}": _hundred(code, 0.5, hundred.flat) for code in ("en", "fr", "de", "it", "ja")
    },
    "bilingual": Layout(5, "latin", TABLE, hundred.bilingual),
    "multilingual": Layout(9, "latin", TABLE, hundred.multilingual),
    "small": _hundred("en", 1.0, label=SMALL, columns=1, short=True),
    "small_de": _hundred("de", 0.5, label=SMALL, columns=1, short=True),
    "energy": Layout(2.0, "latin", ENERGY, hundred.badges),
}


def layouts(rng: Rng, european: bool = False) -> str:
    """The name of a layout, drawn by weight: any, or one of those per 100 g."""
    able = [
        (key, layout.weight)
        for key, layout in LAYOUTS.items()
        if layout.script in scripts() and (not european or key.startswith(PER_HUNDRED))
    ]
    return weighted(rng, able)


def language_of(name: str) -> str:
    """The key of LANGUAGES that text around this layout is likely to be in."""
    return LAYOUTS[name].language


def panel(
    rng: Rng, pack: RGB | None = None, name: str | None = None, style: Style | None = None
) -> tuple[Image.Image, str]:
    """One panel as RGBA, cropped to its hull, 250-700 px long, and its label.

    `pack` is the colour behind it, which decides the ink of a panel without paper;
    `name` asks for one of `LAYOUTS`, `style` for one that looks like the text around it.
    """
    layout = LAYOUTS[name or layouts(rng)]
    pen = _pen(rng, layout.script, pack or pack_colour(rng))
    pen = _alike(rng, pen, layout.script, pack or pen.paper or WHITE, style) if style else pen
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


def _alike(rng: Rng, pen: Pen, script: str, ground: RGB, style: Style) -> Pen:
    """The pen in that style: no paper, and mostly no frame."""
    able, tint = typefaces(script), mixed(ground, style.ink, 0.15)
    return replace(
        pen, face=able[style.family % len(able)], ink=style.ink, paper=None, radius=0, tint=tint,
        accent=style.ink, accent_ink=ground, leading=style.leading, frame=pick(rng, (0, 0, 0, 1)),
        grid=chance(rng, 0.15), dotted=chance(rng, 0.2),
    )  # fmt: skip


def _sized(rng: Rng, image: Image.Image) -> Image.Image:
    """Squeezed or widened a little, as condensed type does, and brought to the allowed size."""
    width, height = image.width * float(rng.uniform(0.62, 1.1)), float(image.height)
    low, high = LONG_SIDE
    scale = min(max(max(width, height), low), high) / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.5)
