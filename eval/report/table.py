"""A table of a report as text, whatever it is then printed on."""

from dataclasses import dataclass
from math import isfinite

NAMES = {
    "mean_iou": "mean IoU",
    "precision@0.5": "P@.5",
    "recall@0.5": "R@.5",
    "f1@0.5": "F1@.5",
    "ap": "AP",
    "false_alarm_rate": "false alarms",
}


@dataclass(frozen=True)
class Sheet:
    """A table: its title, its headings and its rows, all as text, in `words` or mostly numbers."""

    title: str
    head: list[str]
    rows: list[list[str]]
    words: bool = False


def number(value: float | None, digits: int = 3) -> str:
    """A number as text, a dash where there is none."""
    return f"{value:.{digits}f}" if value is not None and isfinite(value) else "-"
