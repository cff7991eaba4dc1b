"""The choices of a visitor: adapters, minimum confidence, when to start and to stop."""

import os
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import discover
from nutrition_vl.models.names import NONE, THRESHOLD

MOST_ADAPTERS = 4  # next to each other
# JavaScript that replaces the last input by the time of the click.
CLICKED = "(...values) => [...values.slice(0, -1), Date.now()]"


@dataclass
class Turn:
    """The times of a visitor's latest start and stop of one tab, by the browser's clock.

    Gradio's own `cancels` reaches the server late and ends the next start too
    (gradio 6.31, `/cancel`). It can go when Gradio cancels by event.
    """

    started: float = 0
    stopped: float = 0

    def start(self, clicked: float | None) -> float:
        """Begins a run and returns its time, which ends the runs that started before it."""
        at = float(clicked or 0)
        self.started = max(self.started, at)
        return at

    def stop(self, clicked: float | None) -> None:
        """Ends the runs that started before this click, those that still wait included."""
        self.stopped = max(self.stopped, float(clicked or 0))

    def is_stopped(self, at: float) -> bool:
        """True for a run that the visitor stopped."""
        return 0 < at <= self.stopped

    def goes_on(self, at: float) -> bool:
        """True for the latest run until it is stopped."""
        return at >= self.started and not self.is_stopped(at)


class AdapterChoices:
    """The detector's own adapter, those in `runs` that fit its base, and none."""

    def __init__(self, detector: Detector, runs: Path) -> None:
        self.base, self.runs = detector.base, runs
        self.own = next(iter(detector.adapters), NONE)

    def names(self) -> list[str]:
        """The adapters by name, read from the runs folder on each call."""
        return list(dict.fromkeys([self.own, *discover(self.runs, self.base), NONE]))

    def titles(self) -> list[tuple[str, str]]:
        """Title and name of each, as a Gradio dropdown takes them."""
        return [(self.title(name), name) for name in self.names()]

    def title(self, name: str) -> str:
        """The name without the folders that all runs share."""
        if name == NONE:
            return "no adapter"
        inside = Path(name).is_relative_to(self.runs)
        return os.path.relpath(name, self.runs) if inside else name

    def valid(self, names: object) -> list[str]:
        """One to MOST_ADAPTERS names that exist; ValueError names the first wrong one."""
        chosen = [names] if isinstance(names, str) else names
        if not isinstance(chosen, list) or not 0 < len(chosen) <= MOST_ADAPTERS:
            count = len(chosen) if isinstance(chosen, list) else chosen
            raise ValueError(f"choose one to {MOST_ADAPTERS} adapters, not {count}")
        every = self.names()
        for name in chosen:
            if name not in every:
                raise ValueError(f"there is no adapter {name}: choose {', '.join(every)}")
        return list(dict.fromkeys(chosen))


def valid_threshold(threshold: object) -> float:
    """A confidence from 0 to 1; ValueError otherwise."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise ValueError(f"{threshold} is not from 0 to 1")
    if not 0 <= threshold <= 1:
        raise ValueError(f"{threshold} is not from 0 to 1")
    return float(threshold)


def adapter_inputs(choices: AdapterChoices) -> tuple[gr.Dropdown, gr.Slider]:
    """The inputs for up to MOST_ADAPTERS adapters and for the minimum confidence."""
    adapters = gr.Dropdown(
        choices.titles(),
        value=[choices.own],
        multiselect=True,
        max_choices=MOST_ADAPTERS,
        label="Adapters (up to four)",
    )
    return adapters, gr.Slider(0, 1, THRESHOLD, step=0.05, label="Minimum confidence")
