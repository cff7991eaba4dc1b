"""The tab for one photo: up to four adapters next to each other, kept answers, crops."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from nutrition_vl.data.photos import open_photo
from nutrition_vl.looks.crops import crop, turned
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.api import PhotoApi, memory, row
from nutrition_vl.page.choices import CLICKED, AdapterChoices, Turn, adapter_inputs
from nutrition_vl.page.drawing import agreement, data_url, figures, problem, tables
from nutrition_vl.page.guard import own_upload, sentence
from nutrition_vl.page.queue import DetectionQueue

TITLES = ["adapter", "label", "score", "x0", "y0", "x1", "y1"]
WAITING = "Drop in a photo, paste one or take one."
SAVE = """(answer) => {
    if (!answer) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 2)]));
    link.download = "nutrition-tables.json";
    link.click();
}"""
Record = dict[str, Any]


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

    path: str = ""
    size: tuple[int, int] = (0, 0)
    picture: str = ""
    truth: Truth | None = None
    names: list[str] = field(default_factory=list)
    answers: dict[str, Future] = field(default_factory=dict)

    def is_answered(self) -> bool:
        """True where each displayed adapter has an answer."""
        answers = [self.answers.get(name) for name in self.names]
        return bool(answers) and all(answer and answer.done() for answer in answers)

    def records(self, threshold: float) -> dict[str, Record]:
        """The displayed answers by adapter."""
        answers = {name: self.answers[name].result().record(self.size) for name in self.names}
        return {name: above(answer, threshold) for name, answer in answers.items()}

    def cancel(self) -> None:
        """Cancels the answers that no detector works on yet."""
        waiting = [name for name, answer in self.answers.items() if answer.cancel()]
        self.answers = {name: self.answers[name] for name in self.answers if name not in waiting}


class PhotoTab:
    """Builds the tab; `photo`, `adapters`, `threshold` and `truth` are set by other tabs."""

    def __init__(self, queue: DetectionQueue, choices: AdapterChoices) -> None:
        self.queue, self.choices = queue, choices
        with gr.Row(elem_classes="photo-tab"):
            with gr.Column(scale=2, min_width=300):
                self._inputs()
            with gr.Column(scale=3, min_width=300, elem_classes="result"):
                self._outputs()
        self._events()

    # ---- layout ----------------------------------------------------------------------------------

    def _inputs(self) -> None:
        self.photo = gr.Image(
            label="Photo", sources=["upload", "clipboard", "webcam"], height=300, elem_id="photo-in"
        )
        # `open_photo` alone checks photos: Gradio's refusals have other words.
        self.photo.preprocess = lambda file: file.path if file else None
        self.adapters, self.threshold = adapter_inputs(self.choices)
        with gr.Row():
            self.button = gr.Button("Find nutrition tables", variant="primary")
            self.cancel = gr.Button("Cancel")
        with gr.Row():
            for number, example in enumerate(sorted((DEMO / "examples").glob("*.jpg")), 1):
                button = gr.Button(f"Example {number}", icon=example, size="sm", min_width=110)
                button.click(partial(str, example), None, self.photo, api_visibility="private")

    def _outputs(self) -> None:
        self.line = gr.Markdown(WAITING, elem_id="photo-line", elem_classes="live")
        self.figures = gr.HTML(elem_id="photo-figures")
        self.table = gr.Dataframe(headers=TITLES, label="Boxes in pixels", interactive=False)
        with gr.Accordion("Crops", open=False):
            self.crops = gr.Gallery(label="Tables, cut out", columns=3, format="jpeg", height=260)
            self.angle = gr.Slider(0, 270, 0, step=90, label="Turn clockwise by degrees")
        with gr.Accordion("JSON", open=False):
            self.answer = gr.JSON(show_label=False)
        with gr.Row():
            self.save = gr.Button("Download JSON", size="sm")
            self.correct = gr.Button("Correct", size="sm")
        self.state, self.truth = gr.State(PhotoState()), gr.State(None)
        self.turn = gr.State(Turn())
        self.clicked = gr.Number(visible=False)

    def _events(self) -> None:
        inputs = [self.photo, self.adapters, self.threshold, self.angle, self.truth, self.state]
        inputs += [self.turn, self.clicked]
        outputs = [self.line, self.figures, self.table, self.answer, self.crops, self.state]
        hidden: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
        limit: dict[str, Any] = dict(
            concurrency_limit=self.queue.batch_size, concurrency_id="photo"
        )
        gr.on(
            [self.photo.change, self.adapters.input, self.button.click],
            self.show,
            inputs,
            outputs,
            js=CLICKED,
            trigger_mode="multiple",  # the latest one ends those before it
            **limit,
            **hidden,
        )
        self.cancel.click(Turn.stop, [self.turn, self.clicked], None, js=CLICKED, **hidden)
        gr.on(
            [self.threshold.change, self.angle.change],
            self.redraw,
            [self.threshold, self.angle, self.state],
            outputs[:-1],
            trigger_mode="always_last",
            **hidden,
        )
        self.save.click(None, self.answer, js=SAVE, api_visibility="private")
        PhotoApi(self.queue, self.choices).build(self.photo, self.adapters, self.threshold, limit)

    # ---- people ----------------------------------------------------------------------------------

    def show(
        self,
        path: str | None,
        names: list[str],
        threshold: float,
        angle: int,
        truth: Truth | None,
        state: PhotoState,
        turn: Turn,
        clicked: float | None,
    ) -> Iterator[tuple[Any, ...]]:
        """Answers a photo with each chosen adapter that has not answered it yet."""
        at = turn.start(clicked)
        if not path:
            yield WAITING, "", [], None, [], PhotoState()
            return
        try:
            if state.path != path:
                state.cancel()
                state = new_state(path, truth)
            state.names = self.choices.valid(names)
            for line in self._answers(state, turn, at):
                yield line, *[gr.skip()] * 4, state
            if turn.is_stopped(at):
                yield "Cancelled.", *[gr.skip()] * 5
            elif turn.goes_on(at):
                yield *self.redraw(threshold, angle, state), state
        except (OSError, ValueError, RuntimeError) as error:
            text = sentence(error)
            yield f"⚠️ {text}", problem(text), [], None, [], PhotoState()

    def redraw(self, threshold: float, angle: int, state: PhotoState) -> tuple[Any, ...]:
        """The kept answers at another threshold; no model runs."""
        if not state.is_answered():
            return (gr.skip(),) * 5
        answers = state.records(threshold)
        truth = [box["xyxy"] for box in state.truth.boxes] if state.truth else []
        titles = {self._title(name, answer, truth): answer for name, answer in answers.items()}
        document = {"photo": Path(state.path).name, "threshold": threshold}
        size = {"width": state.size[0], "height": state.size[1]}
        listed = [{"adapter": name} | answer for name, answer in answers.items()]
        rows = [
            [self.choices.title(name), *row(box)]
            for name, answer in answers.items()
            for box in answer["boxes"]
        ]
        drawing = figures(state.picture, state.size, titles, truth)
        crops = self._crops(state, next(iter(answers.items())), angle)
        line = f"{' · '.join(titles)} · {memory(self.queue)}"
        return line, drawing, rows, document | size | {"answers": listed}, crops

    def _answers(self, state: PhotoState, turn: Turn, at: float) -> Iterator[str]:
        """Yields a line until all answers are there or the run ends; raises an answer's error.

        A run that another one replaces leaves its answers to that one. A run that is stopped, or
        whose visitor left, cancels them.
        """
        new = [name for name in state.names if name not in state.answers]
        photo = open_photo(Path(state.path)) if new else None
        state.answers |= {name: self.queue.submit(photo, name) for name in new if photo}
        waiting, start = [state.answers[name] for name in state.names], time.monotonic()
        try:
            while turn.goes_on(at) and not all(answer.done() for answer in waiting):
                done = sum(answer.done() for answer in waiting)
                seconds = time.monotonic() - start
                yield f"Detecting… {done} of {len(waiting)} adapters · {seconds:.0f} s"
                time.sleep(0.1)
        except GeneratorExit:
            state.cancel()
            raise
        if turn.is_stopped(at):
            state.cancel()

    def _crops(
        self, state: PhotoState, answer: tuple[str, Record], angle: int
    ) -> list[Image.Image]:
        """The tables of one adapter's answer cut out of the photo, turned by `angle` degrees."""
        name, record = answer
        if not record["boxes"]:
            return []
        photo, margin = open_photo(Path(state.path)), self.queue.detector.margin(name)
        return [turned(crop(photo, box["xyxy"], margin), angle // 90) for box in record["boxes"]]

    def _title(self, name: str, answer: Record, truth: list[list[float]]) -> str:
        count, seconds = tables(len(answer["boxes"])), f"{answer['seconds']:.2f} s"
        return f"{self.choices.title(name)}: {count} in {seconds}{agreement(answer, truth)}"


def new_state(path: str, truth: Truth | None = None) -> PhotoState:
    """The state of an uploaded photo that no adapter has answered yet."""
    photo = open_photo(own_upload(path), Path(path).name)
    mine = truth if truth and truth.file == Path(path).name else None
    return PhotoState(path, photo.size, data_url(photo), mine)


def above(record: Record, threshold: float) -> Record:
    """The record with only the boxes of at least this confidence; an error stays as it is."""
    if "error" in record:
        return record
    return record | {"boxes": [b for b in record["boxes"] if b["confidence"] >= threshold]}
