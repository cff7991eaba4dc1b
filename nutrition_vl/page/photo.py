"""The tab for one photo: up to four adapters next to each other, kept answers, crops."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.looks.crops import crop, turned
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.api import PhotoApi, memory, row
from nutrition_vl.page.drawing import agreement, figures, problem, tables
from nutrition_vl.page.guard import sentence
from nutrition_vl.page.queue import DetectionQueue
from nutrition_vl.page.visitor import (
    CLICKED,
    AdapterChoices,
    PhotoState,
    Truth,
    Visit,
    adapter_inputs,
    new_state,
)

TITLES = ["adapter", "label", "score", "x0", "y0", "x1", "y1"]
WAITING = "Drop in a photo, paste one or take one."
KEEP = (gr.skip(),) * 5  # outputs as they are; a run without any output would empty them
SAVE = """(answer) => {
    if (!answer) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 2)]));
    link.download = "nutrition-tables.json";
    link.click();
}"""
Record = dict[str, Any]


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
        # `PhotoFile` alone checks photos: Gradio's refusals have other words.
        self.photo.preprocess = lambda file: file.path if file else None
        self.adapters, self.threshold = adapter_inputs(self.choices)
        with gr.Row():
            self.button = gr.Button("Find nutrition tables", variant="primary", min_width=120)
            self.cancel = gr.Button("Cancel", min_width=120)
        with gr.Row():
            for number, example in enumerate(sorted((DEMO / "examples").glob("*.jpg")), 1):
                button = gr.Button(f"Example {number}", icon=example, size="sm", min_width=110)
                button.click(partial(str, example), None, self.photo, api_visibility="private")

    def _outputs(self) -> None:
        self.line = gr.Markdown(WAITING, elem_id="photo-line", elem_classes="live")
        self.figures = gr.HTML(elem_id="photo-figures")
        self.table = gr.Dataframe(headers=TITLES, label="Boxes in pixels", interactive=False)
        with gr.Accordion("Crops", open=False):
            self.crops = gr.Gallery(
                label="Tables, cut out", show_label=False, columns=3, format="jpeg", height=260
            )
            self.angle = gr.Slider(0, 270, 0, step=90, label="Turn clockwise by degrees")
        with gr.Accordion("JSON", open=False):
            self.answer = gr.JSON(show_label=False)
        with gr.Row():
            self.save = gr.Button("Download JSON", size="sm")
            self.correct = gr.Button("Correct", size="sm")
        self.visit, self.truth = gr.State(Visit()), gr.State(None)
        self.clicked = gr.Number(visible=False)

    def _events(self) -> None:
        inputs = [self.photo, self.adapters, self.threshold, self.angle, self.truth]
        inputs += [self.visit, self.clicked]
        outputs = [self.line, self.figures, self.table, self.answer, self.crops]
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
        self.cancel.click(Visit.stop, [self.visit, self.clicked], None, js=CLICKED, **hidden)
        gr.on(
            [self.threshold.change, self.angle.change],
            self.redraw,
            [self.threshold, self.angle, self.visit],
            outputs,
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
        visit: Visit,
        clicked: float | None,
    ) -> Iterator[tuple[Any, ...]]:
        """Answers a photo with each chosen adapter that has not answered it yet."""
        at = visit.start(clicked)
        if not path:
            visit.photo = PhotoState()
            yield WAITING, "", [], None, []
            return
        try:
            for line in self._detect(visit, at, path, self.choices.valid(names), truth):
                yield line, *KEEP[1:]
            if visit.is_stopped(at):
                yield "Cancelled.", *KEEP[1:]
            else:
                yield self.redraw(threshold, angle, visit) if visit.goes_on(at) else KEEP
        except (OSError, ValueError, RuntimeError) as error:
            if not visit.goes_on(at):
                yield KEEP
                return
            text, visit.photo = sentence(error), PhotoState()
            yield f"⚠️ {text}", problem(text), [], None, []

    def redraw(self, threshold: float, angle: int, visit: Visit) -> tuple[Any, ...]:
        """The kept answers at another threshold; no model runs."""
        state = visit.photo
        if not state.is_answered():
            return KEEP
        answers = state.records(threshold)
        truth = [box["xyxy"] for box in state.truth.boxes] if state.truth else []
        titles = {self._title(name, answer, truth): answer for name, answer in answers.items()}
        width, height = state.photo.size
        document = {"photo": state.photo.name, "threshold": threshold}
        document |= {"width": width, "height": height}
        listed = [{"adapter": name} | answer for name, answer in answers.items()]
        rows = [
            [self.choices.title(name), *row(box)]
            for name, answer in answers.items()
            for box in answer["boxes"]
        ]
        drawing = figures(state.picture, state.photo.size, titles, truth)
        crops = self._crops(state.photo, *next(iter(answers.items())), angle)
        line = f"{' · '.join(titles)} · {memory(self.queue)}"
        return line, drawing, rows, document | {"answers": listed}, crops

    def _submit(self, visit: Visit, path: str, names: list[str], truth: Truth | None) -> PhotoState:
        """The visitor's photo, submitted with each adapter that has not answered it yet."""
        with visit.lock:  # Gradio reports some uploads twice (6.31): the second finds the first's
            if visit.photo.path != path:
                visit.photo.cancel()
                visit.photo = new_state(path, truth)
            state = visit.photo
            new = [name for name in names if name not in state.answers]
            state.answers |= {name: self.queue.submit(state.photo, name) for name in new}
            state.names = names
            return state

    def _detect(
        self, visit: Visit, at: float, path: str, names: list[str], truth: Truth | None
    ) -> Iterator[str]:
        """Yields a line until all answers are there or the run ends.

        A run that another one replaces leaves its answers to that one. One whose visitor has left
        cancels them.
        """
        if not visit.goes_on(at):
            return
        state, start = self._submit(visit, path, names, truth), time.monotonic()
        waiting = [state.answers[name] for name in names]
        try:
            while visit.goes_on(at) and not all(answer.done() for answer in waiting):
                time.sleep(0.1)
                done, seconds = sum(one.done() for one in waiting), time.monotonic() - start
                if visit.goes_on(at):  # a line would stay after the answer of the next run
                    yield f"Detecting… {done} of {len(waiting)} adapters · {seconds:.0f} s"
        except GeneratorExit:
            state.cancel()
            raise

    def _crops(self, photo: PhotoFile, name: str, answer: Record, angle: int) -> list[Image.Image]:
        """The tables of one adapter's answer cut out of the photo, turned by `angle` degrees."""
        if not answer["boxes"]:
            return []
        picture, margin = photo.open(), self.queue.detector.margin(name)
        return [turned(crop(picture, box["xyxy"], margin), angle // 90) for box in answer["boxes"]]

    def _title(self, name: str, answer: Record, truth: list[list[float]]) -> str:
        count, seconds = tables(len(answer["boxes"])), f"{answer['seconds']:.2f} s"
        return f"{self.choices.title(name)}: {count} in {seconds}{agreement(answer, truth)}"
