"""The tab for one photo: up to four adapters side by side, kept answers, crops."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from nutrition_vl.crops import crop, turned
from nutrition_vl.data.photos import open_photo
from nutrition_vl.matching import iou
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.choices import AdapterChoices, adapter_inputs
from nutrition_vl.page.drawing import data_url, figures, problem, tables
from nutrition_vl.page.guard import own_upload, sentence
from nutrition_vl.page.programs import Programs, memory, row
from nutrition_vl.page.queue import DetectionQueue

COLUMNS = ["adapter", "label", "score", "x0", "y0", "x1", "y1"]
WAITING = "Drop in a photo, paste one or take one."
SAVE = """(answer) => {
    if (!answer) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 2)]));
    link.download = "nutrition-tables.json";
    link.click();
}"""
Record = dict[str, Any]


@dataclass
class Look:
    """One visitor's photo and the answers so far, by adapter, at threshold 0."""

    path: str = ""
    size: tuple[int, int] = (0, 0)
    picture: str = ""
    truth: list[list[float]] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)


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
        # `open_photo` alone judges photos: Gradio would refuse with other words.
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
        self.table = gr.Dataframe(headers=COLUMNS, label="Boxes in pixels", interactive=False)
        with gr.Accordion("Crops", open=False):
            self.crops = gr.Gallery(label="Tables, cut out", columns=3, format="jpeg", height=260)
            self.turn = gr.Slider(0, 270, 0, step=90, label="Turn clockwise by degrees")
        with gr.Accordion("JSON", open=False):
            self.answer = gr.JSON(show_label=False)
        with gr.Row():
            self.save = gr.Button("Download JSON", size="sm")
            self.correct = gr.Button("Correct", size="sm")
        self.look, self.truth = gr.State(Look()), gr.State(None)

    def _events(self) -> None:
        inputs = [self.photo, self.adapters, self.threshold, self.turn, self.truth, self.look]
        outputs = [self.line, self.figures, self.table, self.answer, self.crops, self.look]
        run: dict[str, Any] = dict(
            concurrency_limit=self.queue.batch_size, concurrency_id="photo", show_progress="hidden"
        )
        changes = [self.photo.change, self.adapters.input, self.button.click]
        asked = gr.on(changes, self.show, inputs, outputs, api_visibility="private", **run)
        self.cancel.click(
            lambda: "Cancelled.", None, self.line, cancels=asked, api_visibility="private"
        )
        gr.on(
            [self.threshold.change, self.turn.change],
            self.redraw,
            [self.threshold, self.turn, self.look],
            outputs[:-1],
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
        self.save.click(None, self.answer, js=SAVE, api_visibility="private")
        Programs(self.queue, self.choices).build(self.photo, self.adapters, self.threshold, run)

    # ---- people ----------------------------------------------------------------------------------

    def show(
        self,
        path: str | None,
        names: list[str],
        threshold: float,
        turn: int,
        truth: Any,
        look: Look,
    ) -> Iterator[tuple[Any, ...]]:
        """Answers a photo with each chosen adapter that has not answered it yet."""
        if not path:
            yield WAITING, "", [], None, [], Look()
            return
        try:
            if look.path != path:
                look = opened(path, truth)
            for line in self._ask(look, self.choices.checked(names)):
                yield line, *[gr.skip()] * 5
            shown = Look(look.path, look.size, look.picture, look.truth)
            shown.records = {name: look.records[name] for name in names}
            yield *self.redraw(threshold, turn, shown), look
        except (OSError, ValueError, RuntimeError) as error:
            text = sentence(error)
            yield f"⚠️ {text}", problem(text), [], None, [], Look()

    def redraw(self, threshold: float, turn: int, look: Look) -> tuple[Any, ...]:
        """The kept answers at another threshold; no model runs."""
        if not look.records:
            return WAITING, "", [], None, []
        answers = {name: above(record, threshold) for name, record in look.records.items()}
        titles = {self._title(name, answer, look.truth): answer for name, answer in answers.items()}
        document = {"photo": Path(look.path).name, "threshold": threshold}
        size = {"width": look.size[0], "height": look.size[1]}
        listed = [{"adapter": name} | answer for name, answer in answers.items()]
        rows = [
            [self.choices.title(name), *row(box)]
            for name, answer in answers.items()
            for box in answer["boxes"]
        ]
        drawn = figures(look.picture, look.size, titles, look.truth)
        cut = self._crops(look, next(iter(answers.items())), turn)
        line = f"{' · '.join(titles)} · {memory(self.queue)}"
        return line, drawn, rows, document | size | {"answers": listed}, cut

    def _ask(self, look: Look, names: list[str]) -> Iterator[str]:
        """Yields a line while the answers of new adapters come in; leaving cancels the rest."""
        new = [name for name in names if name not in look.records]
        photo = open_photo(Path(look.path)) if new else None
        waiting = {name: self.queue.submit(photo, name) for name in new if photo}
        start = time.monotonic()
        try:
            while not all(future.done() for future in waiting.values()):
                done = sum(future.done() for future in waiting.values())
                yield f"Looking… {done} of {len(new)} · {time.monotonic() - start:.0f} s"
                time.sleep(0.1)
        finally:
            for future in waiting.values():
                future.cancel()
        for name, future in waiting.items():
            look.records[name] = future.result().record(look.size)

    def _crops(self, look: Look, answer: tuple[str, Record], turn: int) -> list[Image.Image]:
        """The tables of one adapter's answer cut out of the photo, turned by `turn` degrees."""
        name, record = answer
        if not record["boxes"]:
            return []
        photo, margin = open_photo(Path(look.path)), self.queue.detector.margin(name)
        return [turned(crop(photo, box["xyxy"], margin), turn // 90) for box in record["boxes"]]

    def _title(self, name: str, answer: Record, truth: list[list[float]]) -> str:
        parts = [
            self.choices.title(name),
            tables(len(answer["boxes"])),
            f"{answer['seconds']:.2f} s",
        ]
        return ": ".join(parts[:2]) + " in " + parts[2] + agreement(answer, truth)


def opened(path: str, truth: Any = None) -> Look:
    """A new look at an uploaded photo; `truth` is (file name, true boxes) where a tab set it."""
    photo = open_photo(own_upload(path), Path(path).name)
    known = truth[1] if truth and truth[0] == Path(path).name else []
    return Look(path, photo.size, data_url(photo), known)


def above(record: Record, threshold: float) -> Record:
    """The record with only the boxes of at least this confidence."""
    return record | {"boxes": [b for b in record["boxes"] if b["confidence"] >= threshold]}


def agreement(answer: Record, truth: list[list[float]]) -> str:
    """Mean over the true boxes of the IoU with the best box, where the truth is known."""
    if not truth:
        return ""
    boxes = np.array([box["xyxy"] for box in answer["boxes"]]).reshape(-1, 4)
    overlaps = iou(np.array(truth, dtype=float).reshape(-1, 4), boxes)
    best = overlaps.max(axis=1) if len(boxes) else np.zeros(len(truth))
    return f", IoU {best.mean():.2f}"
