"""The budget of pixels and tokens for one photo, and photos resized to it."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image
from qwen_vl_utils.vision_process import MAX_RATIO, smart_resize, to_rgb

from nutrition_vl.models.family import ImageProcessor, Processor

SPARE = 2  # times the pixels of a side that a JPEG is decoded at, at least, before it is resized


class File(Protocol):
    """A photo's file that can be decoded at a fraction of its size."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright photo."""

    def open(self, least: tuple[int, int] | None = None) -> Image.Image:
        """The upright photo in RGB, in its own size or at least so large."""


@dataclass(frozen=True)
class PixelBudget:
    """Tokens of the language model that one photo may take; a token covers 28 x 28 pixels."""

    min_tokens: int = 4
    max_tokens: int = 600

    def size(self, image_processor: ImageProcessor) -> dict[str, int]:
        """The budget in pixels, under the names of the image processor's `size`."""
        pixels = _pixels_per_token(image_processor)
        least = min(self.min_tokens, self.max_tokens)
        return {"shortest_edge": least * pixels, "longest_edge": self.max_tokens * pixels}

    def fit(self, photo: Image.Image | File, image_processor: ImageProcessor) -> Image.Image:
        """The photo resized to whole tokens within the budget, its aspect nearly unchanged.

        A file is decoded at SPARE times that size or more. The processor's own resize then changes
        nothing. ValueError for photos too narrow to fit.
        """
        width, height = photo.size
        limit = min(MAX_RATIO, self.max_tokens)
        if max(photo.size) >= limit * min(photo.size):
            raise ValueError(
                f"the photo is {width} x {height} pixels: crop it, its long side must be less than "
                f"{limit} times its short side"
            )
        pixels, side = self.size(image_processor), _side_of_token(image_processor)
        limits = pixels["shortest_edge"], pixels["longest_edge"]
        rows, columns = smart_resize(height, width, side, *limits)
        if not isinstance(photo, Image.Image):
            photo = photo.open((SPARE * columns, SPARE * rows))
        rgb = photo if photo.mode == "RGB" else to_rgb(photo)  # which copies RGB: 0.03 s for 12 MP
        return rgb.resize((columns, rows), Image.Resampling.BICUBIC)


def budget_of(processor: Processor) -> PixelBudget:
    """The budget a processor was saved with."""
    image_processor = processor.image_processor
    pixels, size = _pixels_per_token(image_processor), image_processor.size
    return PixelBudget(size["shortest_edge"] // pixels, size["longest_edge"] // pixels)


def _pixels_per_token(image_processor: ImageProcessor) -> int:
    return _side_of_token(image_processor) ** 2


def _side_of_token(image_processor: ImageProcessor) -> int:
    return image_processor.patch_size * image_processor.merge_size
