"""Colours of packs, inks and food."""

from collections.abc import Sequence

import numpy as np

from training.render.layout.dice import Rng, chance, pick

RGB = tuple[int, int, int]
WHITE, BLACK = (255, 255, 255), (15, 15, 15)
PACKS: tuple[RGB, ...] = (
    (250, 205, 20), (245, 225, 70), (210, 25, 35), (180, 20, 30), (225, 60, 40), (30, 60, 170),
    (20, 40, 110), (60, 130, 205), (40, 130, 70), (120, 175, 60), (20, 80, 55), (110, 50, 140),
    (160, 110, 190), (240, 125, 30), (225, 150, 80), (95, 55, 35), (60, 35, 30), (25, 25, 28),
    (45, 45, 50), (250, 250, 250), (240, 238, 230), (245, 245, 240), (195, 160, 115),
    (205, 175, 135), (190, 192, 196), (215, 216, 220), (230, 130, 160), (240, 190, 200),
    (150, 205, 215), (210, 225, 160),
)  # fmt: skip
FOOD: tuple[RGB, ...] = (
    (150, 95, 50), (205, 155, 85), (230, 195, 130), (95, 55, 30), (190, 45, 35), (225, 110, 40),
    (240, 200, 70), (110, 140, 50), (245, 235, 215), (160, 30, 50), (60, 35, 25), (215, 120, 110),
)  # fmt: skip
LIGHT_INKS: tuple[RGB, ...] = (
    (255, 255, 255), (255, 255, 255), (245, 235, 205), (255, 225, 90), (205, 225, 245),
)  # fmt: skip
DARK_INKS: tuple[RGB, ...] = (
    (0, 0, 0), (0, 0, 0), (25, 25, 30), (30, 45, 120), (80, 40, 20), (130, 20, 25), (20, 80, 45),
)  # fmt: skip


def rgb(values: Sequence[float] | np.ndarray) -> RGB:
    """Three numbers as a colour, clipped to 0-255."""
    red, green, blue = np.clip(values, 0, 255).astype(int).tolist()
    return red, green, blue


def mixed(first: RGB, second: RGB, share: float) -> RGB:
    """`share` of the second colour in the first."""
    return rgb(np.array(first) * (1 - share) + np.array(second) * share)


def shaded(colour: RGB, light: float) -> RGB:
    """The colour, `light` times as bright."""
    return rgb(np.array(colour) * light)


def near(rng: Rng, colour: RGB, spread: float) -> RGB:
    """The colour, off by a standard deviation of `spread` in each channel."""
    return rgb(np.array(colour) + rng.normal(0, spread, 3))


def vivid(rng: Rng) -> RGB:
    """A saturated colour."""
    return rgb(rng.permutation(rng.integers((0, 60, 135), (90, 256, 256))))


def pack_colour(rng: Rng) -> RGB:
    """One of the usual colours of packs, a little off."""
    return near(rng, pick(rng, PACKS) if chance(rng, 0.85) else vivid(rng), 10)


def food_colour(rng: Rng) -> RGB:
    """Something baked, roasted, fruity or green."""
    return near(rng, pick(rng, FOOD), 12)


def luminance(colour: RGB) -> float:
    """Rec. 601 luma, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def contrasting(rng: Rng, ground: RGB) -> RGB:
    """An ink that reads on `ground`."""
    return pick(rng, LIGHT_INKS if luminance(ground) < 115 else DARK_INKS)
