"""A face while it is being printed."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from training.render.layout.dice import Rng
from training.render.package.blocks import Look

Box = tuple[int, int, int, int]
Table = tuple[Image.Image, str]  # and its label
Block = Callable[[Rng, Image.Image, Look], None]
GAP = 3  # pixels between neighbours


@dataclass
class Proof:
    """The picture so far, `tables` (mode L, k where table k lies) and the `kinds` of blocks for
    the rest."""

    image: Image.Image
    tables: Image.Image
    look: Look
    kinds: tuple[tuple[Block, float], ...]
    labels: list[str] = dataclasses.field(default_factory=list)

    def put(self, table: Image.Image, label: str, at: tuple[int, int]) -> Box:
        """Prints a table and notes where it lies."""
        box = (*at, at[0] + table.width, at[1] + table.height)
        self.image.paste(table, at, table)
        self.labels.append(label)
        self.tables.paste(len(self.labels), box)
        return box


def fit(table: Image.Image, scale: float, room: tuple[float, float]) -> Image.Image:
    """The table `scale` times as large, as far as the room (width, height) allows."""
    scale = min(scale, room[0] / table.width, room[1] / table.height)
    size = (max(8, int(table.width * scale)), max(8, int(table.height * scale)))
    return table.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
