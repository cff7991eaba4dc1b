"""A table of a report as text, for console, Markdown and HTML alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Sheet:
    """A table: title, headings and rows of text, mostly `words` or mostly numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


def number(value: float | None, digits: int = 3) -> str:
    """A number as text, a dash where there is none."""
    return f"{value:.{digits}f}" if value is not None and isfinite(value) else "-"
