"""The tab for corrections: move, resize, add and delete boxes, save them as labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_image_annotation import image_annotator

from nutrition_vl.boxes import LABELS
from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.page.job import Job, uncertainty
from nutrition_vl.page.labels import LabelFolder, Place
from nutrition_vl.page.visitor import Truth

COLOURS = ["#e6194b", "#4363d8", "#f58231", "#911eb4"]
EDITOR = (1200, 560)  # pixels of the picture: it fits a screen of 1280 x 800
EMPTY = "Open a photo from *Photo* or *Many photos*, or take the next one."
HELP = "Drag to draw a box, double-click it to change its label, press Delete to remove it."
Record = dict[str, Any]


@dataclass
class Draft:
    """The photo in the editor: its file, upright size and the scale of the editor's picture.

    `truth` is there where the photo is one of a labelled source.
    """

    path: str = ""
    size: tuple[int, int] = (0, 0)
    scale: float = 1.0
    truth: Truth | None = None


class CorrectTab:
    """Builds the tab; other tabs fill the editor with `open` and `open_labelled`."""

    def __init__(self, labels: Path) -> None:
        self.folder = LabelFolder(labels)
        self.line = gr.Markdown(EMPTY, elem_classes="live")
        with gr.Row():
            self.save = gr.Button("Save boxes", variant="primary", min_width=120)
            self.none = gr.Button("No table here", min_width=120)
            self.undo = gr.Button("Undo last save", min_width=120)
            self.next = gr.Button("Next photo", min_width=120)
        self.editor = image_annotator(
            label_list=list(LABELS),
            label_colors=COLOURS,
            sources=[],
            boxes_alpha=0.15,
            height=480,
            label="Boxes",
            show_label=False,  # it would cover a box
            show_download_button=False,
            show_share_button=False,
        )
        gr.Markdown(HELP)
        # Only boxes come back: no code reads the picture.
        self.editor.preprocess = lambda value: (
            self.editor.preprocess_boxes(value.boxes) if value else []
        )
        self.draft = gr.State(Draft())
        drawing = [self.editor, self.draft]
        self.save.click(self.save_boxes, drawing, self.line, api_visibility="private")
        self.none.click(self.save_none, self.draft, self.line, api_visibility="private")
        self.undo.click(self.undo_save, None, self.line, api_visibility="private")
        gr.Button(visible=False).click(
            self.corrections, None, gr.JSON(visible=False), api_name="corrections"
        )

    def open(
        self, path: str, boxes: Sequence[Record], truth: Truth | None = None
    ) -> tuple[dict[str, Any] | None, Draft, str]:
        """The editor's value, the draft and the line for a photo with these boxes."""
        photo = PhotoFile(path, Path(path).name)
        small, (width, height) = photo.open(EDITOR), photo.size
        small.thumbnail(EDITOR)
        scale = small.width / width
        drawing = [editor_box(box, scale) for box in boxes]
        line = f"{photo.name}: {width} x {height} pixels"
        return {"image": small, "boxes": drawing}, Draft(path, photo.size, scale, truth), line

    def open_labelled(self, path: str, truth: Truth) -> tuple[dict[str, Any] | None, Draft, str]:
        """The same for a photo of a labelled source, with its true or its corrected boxes."""
        entry, boxes = self.folder.correction(place_of(truth)), truth.boxes
        if entry:
            pairs = zip(entry["xyxy"], entry["label"], strict=True)
            boxes = [{"xyxy": xyxy, "label": label} for xyxy, label in pairs]
        value, draft, line = self.open(path, boxes, truth)
        return value, draft, f"{line}, {truth.photo} of {truth.source} with its labels"

    def save_none(self, draft: Draft) -> str:
        """Saves that the photo has no table."""
        return self.save_boxes([], draft)

    def save_boxes(self, boxes: list[Record], draft: Draft) -> str:
        """Saves the editor's boxes and returns a line with their place."""
        if not draft.path:
            return f"⚠️ There is no photo in the editor. {EMPTY}"
        corners = [photo_box(box, draft) for box in boxes]
        labels = [box["label"] if box.get("label") in LABELS else LABELS[0] for box in boxes]
        if any(x0 >= x1 or y0 >= y1 for x0, y0, x1, y1 in corners):
            return "⚠️ A box has no area: draw it again or delete it."
        try:
            if draft.truth:
                file = self.folder.correct(place_of(draft.truth), corners, labels)
                return f"Saved {draft.truth.photo} with {len(boxes)} boxes: {option(file)}"
            row = self.folder.save(Path(draft.path), draft.size, corners, labels)
        except (OSError, ValueError) as error:
            return f"⚠️ cannot save in {self.folder.root}: {error}"
        return f"Saved {row['file_name']} with {len(boxes)} boxes: {self.count()}"

    def undo_save(self) -> str:
        """Undoes the last save."""
        try:
            name = self.folder.undo()
        except (OSError, ValueError) as error:
            return f"⚠️ cannot undo: {error}"
        return f"Took back the last save of {name}: {self.count()}" if name else "Nothing to undo."

    def count(self) -> str:
        """The number of labelled photos and the command that trains on them."""
        rows = len(self.folder.rows())
        return f"{rows} labelled, for `python -m training --data_path {self.folder.root}`"

    def next_of(self, job: Job, threshold: float) -> tuple[Any, Draft, str]:
        """The unlabelled photo of a job whose label would teach most."""
        scores = {
            job.photos[name]: uncertainty([*answers.values()])
            for name, answers in job.answers.items()
            if answers and not all("error" in answer for answer in answers.values())
        }
        path = self.folder.first_unlabelled(sorted(scores, key=lambda photo: -scores[photo]))
        if not path:
            return gr.skip(), Draft(), f"No unlabelled photo is left in *Many photos*. {EMPTY}"
        records = [r for r in job.records(threshold) if job.photos[r["photo"]] == path]
        return self.open(str(path), records[0].get("boxes", []))

    def corrections(self) -> list[dict[str, Any]]:
        """Lists the photos labelled on the page, one metadata row per photo."""
        return self.folder.rows()


def place_of(truth: Truth) -> Place:
    """The place of a photo's correction."""
    return Place.of_source(truth.source, truth.photo, truth.split)


def option(file: Path) -> str:
    """The option of `python -m training` and `python -m eval` that applies the corrections."""
    return f"`--corrections {file}`"


def editor_box(box: Record, scale: float) -> Record:
    """A box of an answer in the editor's pixels."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box["xyxy"], strict=True)
    colour = COLOURS[LABELS.index(box["label"])]
    return {key: round(edge * scale) for key, edge in corners} | {
        "label": box["label"],
        "color": tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5)),
    }


def photo_box(box: Record, draft: Draft) -> list[float]:
    """A box of the editor in the photo's pixels, inside the photo."""
    width, height = draft.size
    edges = [box[key] / draft.scale for key in ("xmin", "ymin", "xmax", "ymax")]
    limits = (width, height, width, height)
    return [round(min(max(0.0, edge), limit), 1) for edge, limit in zip(edges, limits, strict=True)]
