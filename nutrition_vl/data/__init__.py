"""Reads labelled photos: any source becomes the same rows."""

from typing import TYPE_CHECKING, Any

from nutrition_vl.data.rows import DATASET

if TYPE_CHECKING:
    from nutrition_vl.data.load import load_split, truth
    from nutrition_vl.data.photos import open_photo

__all__ = ["DATASET", "load_split", "open_photo", "truth"]


def __getattr__(name: str) -> Any:
    """Imports a public name on first use, so that opening a photo does not load `datasets`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nutrition_vl.data import load, photos

    return getattr(photos if name == "open_photo" else load, name)
