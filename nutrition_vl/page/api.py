"""The page's API for one photo: /detect, /compare and /adapters."""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import psutil
from PIL import Image

from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.page.drawing import LONGEST_SIDE, tables
from nutrition_vl.page.guard import own_upload
from nutrition_vl.page.queue import DetectionQueue
from nutrition_vl.page.visitor import AdapterChoices, valid_threshold

TITLES = ["label", "score", "x0", "y0", "x1", "y1"]
Record = dict[str, Any]


class PhotoApi:
    """The endpoints; an error of a call is one sentence."""

    def __init__(self, queue: DetectionQueue, choices: AdapterChoices) -> None:
        self.queue, self.choices = queue, choices

    def build(
        self, photo: gr.Image, adapters: gr.Dropdown, threshold: gr.Slider, run: dict[str, Any]
    ) -> None:
        """Adds the endpoints to the page that is being built; hidden components carry types."""
        adapter = gr.Dropdown(self.choices.names(), visible=False)
        drawing = gr.AnnotatedImage(visible=False)
        rows, line = gr.Dataframe(headers=TITLES, visible=False), gr.Markdown(visible=False)
        outputs = [drawing, rows, line, gr.JSON(visible=False)]
        # Without preprocessing the values arrive as they were sent, and our own words refuse them.
        raw = run | {"preprocess": False}
        detect, compare = gr.Button(visible=False), gr.Button(visible=False)
        detect.click(self.detect, [photo, adapter, threshold], outputs, api_name="detect", **raw)
        both = [photo, adapters, threshold]
        compare.click(self.compare, both, gr.JSON(visible=False), api_name="compare", **raw)
        gr.api(self.choices.names, api_name="adapters")

    def detect(self, photo: Any, adapter: Any, threshold: Any) -> tuple[Any, ...]:
        """Finds the tables on one photo with one adapter: drawing, rows, a line, JSON."""
        file, [(name, answer)] = self._answered(photo, [adapter], threshold)
        line = f"**{tables(len(answer['boxes']))}** found with {self.choices.title(name)} "
        line += f"in {answer['seconds']:.2f} s · {memory(self.queue)}"
        rows = [row(box) for box in answer["boxes"]]
        picture = file.open((LONGEST_SIDE, LONGEST_SIDE))
        return annotated(picture, file.size, answer["boxes"]), rows, line, answer

    def compare(self, photo: Any, adapters: Any, threshold: Any) -> list[Record]:
        """Finds the tables on one photo with up to four adapters: one answer per adapter."""
        _, answers = self._answered(photo, adapters, threshold)
        return [{"adapter": name} | answer for name, answer in answers]

    def _answered(
        self, photo: Any, adapters: Any, threshold: Any
    ) -> tuple[PhotoFile, list[tuple[str, Record]]]:
        if not isinstance(photo, dict) or not isinstance(photo.get("path"), str):
            raise ValueError("there is no photo in this call: upload one")
        names, least = self.choices.valid(adapters), valid_threshold(threshold)
        file = PhotoFile(own_upload(photo["path"]), Path(photo["path"]).name)
        size = file.size  # raises for a file that is no photo, before any model runs
        futures = [self.queue.submit(file, name) for name in names]
        answers = [future.result().above(least).record(size) for future in futures]
        return file, list(zip(names, answers, strict=True))


def annotated(
    picture: Image.Image, size: tuple[int, int], boxes: list[Record]
) -> tuple[Image.Image, list[Any]]:
    """The value of gr.AnnotatedImage: a small picture and a titled frame per box.

    Boxes are in pixels of the photo, whose width and height are `size`.
    """
    small = picture.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    scale = np.tile(np.divide(small.size, size), 2)
    titles = [f"{box['label']} {box['confidence']:.2f}" for box in boxes]
    frames = [frame(small.size, box["xyxy"] * scale) for box in boxes]
    return small, list(zip(frames, titles, strict=True))


def frame(size: tuple[int, int], xyxy: np.ndarray) -> np.ndarray:
    """The opacity (height, width) of a box: Gradio's own, half opaque, would hide the table."""
    width, height = size
    edge = max(2, max(size) // 160)
    x0, y0, x1, y1 = xyxy.round().astype(int)
    opacity = np.zeros((height, width))
    opacity[y0:y1, x0:x1] = 1
    opacity[y0:y1, x0:x1][edge:-edge, edge:-edge] = 0.12
    return opacity


def row(box: Record) -> list[Any]:
    """A box as a row of the table: label, score, whole pixels."""
    return [box["label"], round(box["confidence"], 2), *(round(edge) for edge in box["xyxy"])]


def memory(queue: DetectionQueue) -> str:
    """The memory in use: the GPU's peak, or this process's."""
    device = queue.detector.model.device
    if device.type == "cuda":
        import torch

        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB of GPU memory at most"
    return f"{psutil.Process().memory_info().rss / 2**30:.2f} GiB of memory"
