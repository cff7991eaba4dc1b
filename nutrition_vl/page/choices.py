"""The adapters a visitor may choose, looked up anew in the runs folder each time."""

import os
from pathlib import Path

import gradio as gr

from nutrition_vl.detector import THRESHOLD, Detector
from nutrition_vl.models.adapters import NONE
from nutrition_vl.models.checkpoints import discover

MOST = 4  # adapters side by side


class AdapterChoices:
    """The detector's own adapter, those in `runs` that fit its base, and none."""

    def __init__(self, detector: Detector, runs: Path) -> None:
        self.base, self.runs = detector.base, runs
        self.own = next(iter(detector.adapters), NONE)

    def names(self) -> list[str]:
        """The adapters by name; a run that ended a second ago is among them."""
        return list(dict.fromkeys([self.own, *discover(self.runs, self.base), NONE]))

    def titled(self) -> list[tuple[str, str]]:
        """Title and name of each, as a Gradio dropdown takes them."""
        return [(self.title(name), name) for name in self.names()]

    def title(self, name: str) -> str:
        """The name without the folders that all runs share."""
        if name == NONE:
            return "no adapter"
        inside = Path(name).is_relative_to(self.runs)
        return os.path.relpath(name, self.runs) if inside else name

    def checked(self, names: object) -> list[str]:
        """One to MOST names that exist; ValueError says which are wrong."""
        chosen = [names] if isinstance(names, str) else names
        if not isinstance(chosen, list) or not 0 < len(chosen) <= MOST:
            count = len(chosen) if isinstance(chosen, list) else chosen
            raise ValueError(f"choose one to {MOST} adapters, not {count}")
        every = self.names()
        for name in chosen:
            if name not in every:
                raise ValueError(f"there is no adapter {name}: choose {', '.join(every)}")
        return list(dict.fromkeys(chosen))


def checked_threshold(threshold: object) -> float:
    """A confidence from 0 to 1; ValueError otherwise."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise ValueError(f"{threshold} is not from 0 to 1")
    if not 0 <= threshold <= 1:
        raise ValueError(f"{threshold} is not from 0 to 1")
    return float(threshold)


def adapter_inputs(choices: AdapterChoices) -> tuple[gr.Dropdown, gr.Slider]:
    """The inputs for up to MOST adapters and for the minimum confidence."""
    adapters = gr.Dropdown(
        choices.titled(),
        value=[choices.own],
        multiselect=True,
        max_choices=MOST,
        label="Adapters (up to four)",
    )
    return adapters, gr.Slider(0, 1, THRESHOLD, step=0.05, label="Minimum confidence")
