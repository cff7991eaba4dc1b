"""Sheets to print on, pens, and filler words for all kinds of negatives."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.render.layout.colours import (
    BLACK,
    RGB,
    WHITE,
    contrasting,
    luminance,
    mixed,
    rgb,
    vivid,
)
from training.render.layout.dice import Rng, chance, pick
from training.render.layout.fonts import scripts, typefaces
from training.render.layout.sheets import Line, Pen, block, wrapped
from training.render.layout.words import LANGUAGES, WORDS, Language

PAPERS: tuple[RGB, ...] = (
    WHITE, WHITE, WHITE, (250, 250, 246), (248, 244, 230), (240, 240, 240), (252, 246, 200),
    (235, 240, 248), (222, 222, 218), (245, 225, 110), (30, 32, 36),
)  # fmt: skip


def sheet(rng: Rng, size: int, low: float, high: float, ground: RGB | None = None) -> Image.Image:
    """An empty sheet whose long side is `size`, its width over height from `low` to `high`."""
    aspect = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    wide = (size, round(size / aspect)) if aspect > 1 else (round(size * aspect), size)
    return Image.new("RGB", wide, ground or pick(rng, PAPERS))


def ground_of(image: Image.Image) -> RGB:
    """The colour of a sheet that is still empty near its corner."""
    return rgb(np.asarray(image)[2, 2])


def language(rng: Rng, latin: float = 0.7) -> Language:
    """A language that this machine can set, one of the Latin ones as often as `latin`."""
    only = chance(rng, latin)
    able = [w for w in LANGUAGES.values() if w.script in scripts()]
    return pick(rng, [w for w in able if w.script == "latin"] if only else able)


def pen(rng: Rng, ground: RGB, size: float, words: Language | None = None) -> Pen:
    """A pen that reads on `ground`, in a typeface for the language (Latin without one)."""
    script = words.script if words else "latin"
    dark = luminance(ground) > 150 and chance(rng, 0.75)
    ink = BLACK if dark else contrasting(rng, ground)
    accent = ink if chance(rng, 0.4) else vivid(rng)
    return Pen(
        face=pick(rng, typefaces(script)), size=size, ink=ink, paper=None, accent=accent,
        accent_ink=ground if accent == ink else WHITE, tint=mixed(ground, ink, 0.12),
        leading=float(rng.uniform(1.05, 1.7)), grid=chance(rng, 0.3), frame=0,
        dotted=chance(rng, 0.15), rtl=script in ("arabic", "hebrew"),
    )  # fmt: skip


def phrase(rng: Rng, words: Language, least: int = 1, most: int = 4) -> str:
    """A few consecutive words of the language's prose; some letters where it has no spaces."""
    parts = words.prose.split()
    if len(parts) < 12:
        start = int(rng.integers(max(1, len(words.prose) - 24)))
        return words.prose[start : start + int(rng.integers(2 * least, 5 * most))]
    start = int(rng.integers(len(parts) - 8))
    text = " ".join(parts[start : start + int(rng.integers(least, most + 1))]).strip(".,;:()")
    return text.capitalize() if chance(rng, 0.7) else text


def name(rng: Rng) -> str:
    """An invented name."""
    parts = "".join(str(p) for p in rng.choice(WORDS["brands"], int(rng.integers(2, 4))))
    return parts.title() if chance(rng, 0.7) else parts


def prose(rng: Rng, words: Language, letters: int) -> str:
    """About so many letters of running text."""
    start = int(rng.integers(len(words.prose)))
    return ((words.prose[start:] + " ") + words.prose * (letters // len(words.prose) + 1))[:letters]


def number(rng: Rng, digits: int = 0, most: float = 999.0) -> str:
    """A number up to `most`, often a small one."""
    return f"{most * float(rng.random()) ** 2:.{digits}f}"


def clock(rng: Rng) -> str:
    """A time of day."""
    return f"{int(rng.integers(5, 24)):02}:{int(rng.integers(60)):02}"


def printed(image: Image.Image, parts: Sequence[Image.Image], at: tuple[int, int]) -> int:
    """Prints blocks below each other from `at` on; returns where the last ends."""
    x, y = at
    for part in parts:
        image.paste(part, (x, y), part)
        y += part.height
    return y


def fitted(image: Image.Image, part: Image.Image, share: float = 0.94) -> None:
    """Prints a block in the middle, as large as `share` of the sheet allows."""
    scale = min(share * image.width / part.width, share * image.height / part.height)
    size = (max(4, int(part.width * scale)), max(4, int(part.height * scale)))
    part = part.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    at = ((image.width - size[0]) // 2, (image.height - size[1]) // 2)
    image.paste(part, at, part)


def column(
    rng: Rng, image: Image.Image, box: tuple[int, int, int, int], pen: Pen, words: Language
) -> None:
    """Fills a box (x0, y0, x1, y1) with paragraphs, headings and gaps."""
    x0, y, x1, bottom = box
    while bottom - y > 2 * pen.size and x1 - x0 > 4 * pen.size:
        head = chance(rng, 0.2)
        text = phrase(rng, words, 2, 6) if head else prose(rng, words, int(rng.integers(60, 700)))
        scale = float(rng.uniform(1.0, 1.5)) if head else 1.0
        rows = wrapped(text, pen, pen.size * scale, x1 - x0 - pen.size * 0.6, head)
        room = int((bottom - y) / (pen.size * pen.leading * scale))
        if not room:
            return
        part = block([Line((row,), head, scale) for row in rows[:room]], pen, x1 - x0)
        y = printed(image, [part], (x0, y)) + int(pen.size * pick(rng, (0, 0, 0.5, 1)))
