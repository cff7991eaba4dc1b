"""What a visitor chooses and holds: adapters, minimum confidence, starts, stops, a photo."""

import os
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self

import gradio as gr

from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import discover
from nutrition_vl.models.names import NONE, THRESHOLD
from nutrition_vl.page.drawing import LONGEST_SIDE, data_url
from nutrition_vl.page.guard import own_upload

MOST_ADAPTERS = 4  # next to each other
Record = dict[str, Any]
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


@dataclass(frozen=True)
class Truth:
    """The true boxes of a photo of a labelled source; `file` is its name on the page."""

    file: str
    source: str
    photo: str
    split: str
    boxes: list[Record]


@dataclass
class PhotoState:
    """One visitor's photo with its answers by adapter, at threshold 0; `names` are displayed."""

    photo: PhotoFile = field(default_factory=partial(PhotoFile, ""))
    picture: str = ""
    truth: Truth | None = None
    names: list[str] = field(default_factory=list)
    answers: dict[str, Future] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The photo's file; empty without a photo."""
        return str(self.photo.source)

    def is_answered(self) -> bool:
        """True where each displayed adapter has an answer."""
        answers = [self.answers.get(name) for name in self.names]
        return bool(answers) and all(answer and answer.done() for answer in answers)

    def records(self, threshold: float) -> dict[str, Record]:
        """The displayed answers by adapter."""
        answers = {name: self.answers[name].result().record(self.photo.size) for name in self.names}
        return {name: above(answer, threshold) for name, answer in answers.items()}

    def cancel(self) -> None:
        """Cancels the answers that no detector works on yet."""
        waiting = [name for name, answer in self.answers.items() if answer.cancel()]
        self.answers = {name: self.answers[name] for name in self.answers if name not in waiting}


class Visit(Turn):
    """One visitor's starts and stops in the Photo tab, and the photo there."""

    def __init__(self) -> None:
        super().__init__()
        self.photo, self.lock = PhotoState(), Lock()

    def __deepcopy__(self, memo: object) -> Self:
        """Each visitor begins with an empty one; Gradio copies it, and locks have no copy."""
        return type(self)()

    def stop(self, clicked: float | None) -> None:
        """Ends the runs that started before this click and cancels their answers."""
        super().stop(clicked)
        with self.lock:
            if self.is_stopped(self.started):
                self.photo.cancel()


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


def new_state(path: str, truth: Truth | None = None) -> PhotoState:
    """The state of an uploaded photo that no adapter has answered yet."""
    photo = PhotoFile(own_upload(path), Path(path).name)
    mine = truth if truth and truth.file == photo.name else None
    return PhotoState(photo, data_url(photo.open((LONGEST_SIDE, LONGEST_SIDE))), mine)


def above(record: Record, threshold: float) -> Record:
    """The record with only the boxes of at least this confidence; an error stays as it is."""
    if "error" in record:
        return record
    return record | {"boxes": [b for b in record["boxes"] if b["confidence"] >= threshold]}


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
