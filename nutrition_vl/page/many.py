"""The tab for many photos: files, a zip or a folder; stop, continue, filter, download."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ListFiles

from nutrition_vl.export import ENDINGS, export
from nutrition_vl.page.drawing import problem
from nutrition_vl.page.guard import sentence
from nutrition_vl.page.job import FILTERS, Job, folder_inside, new_job
from nutrition_vl.page.queue import DetectionQueue
from nutrition_vl.page.visitor import (
    CLICKED,
    AdapterChoices,
    Turn,
    above,
    adapter_inputs,
    valid_threshold,
)

PER_SCREEN = 60  # pictures of the gallery
Record = dict[str, Any]


class ManyTab:
    """Builds the tab. `selected` is the name of the photo last clicked in the gallery."""

    def __init__(self, queue: DetectionQueue, choices: AdapterChoices, photos: Path | None) -> None:
        self.queue, self.choices, self.root = queue, choices, photos
        with gr.Row(elem_classes="photo-tab"):
            with gr.Column(scale=2, min_width=300):
                self._inputs()
            with gr.Column(scale=3, min_width=300, elem_classes="result"):
                self._outputs()
        self._events()

    # ---- layout ----------------------------------------------------------------------------------

    def _inputs(self) -> None:
        self.files = gr.File(
            label="Photos or a zip", file_count="multiple", file_types=["image", ".zip"], height=160
        )
        self.files.preprocess = paths
        folders = folders_below(self.root) if self.root else []
        label = f"or a folder below {self.root.resolve().name if self.root else ''}"
        self.folder = gr.Dropdown(folders, value=None, label=label, visible=bool(folders))
        self.adapters, self.threshold = adapter_inputs(self.choices)

    def _outputs(self) -> None:
        with gr.Row():  # here, so that a phone has Stop next to the progress
            self.start = gr.Button("Start or continue", variant="primary", min_width=120)
            self.stop = gr.Button("Stop", min_width=120)
        self.progress = gr.HTML(elem_classes="live")
        self.filter = gr.Radio(FILTERS, value="all", label="Show")
        self.gallery = gr.Gallery(
            label="Answers",
            show_label=False,  # it would cover a picture
            height=440,
            object_fit="contain",  # a cut picture would hide boxes
            format="jpeg",
            allow_preview=False,
            elem_classes="answers",
        )
        with gr.Row():
            self.open_photo = gr.Button("Open in Photo", size="sm")
            self.open_editor = gr.Button("Correct", size="sm")
        with gr.Row(equal_height=True):
            self.format = gr.Dropdown(list(ENDINGS), value="jsonl", label="File format")
            self.make = gr.Button("Make file to download")
        self.file = gr.File(label="Download", interactive=False, visible=False)
        self.job, self.selected = gr.State(Job(), delete_callback=Job.discard), gr.State("")
        self.turn, self.clicked = gr.State(Turn()), gr.Number(visible=False)

    def _events(self) -> None:
        quiet: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
        inputs = [self.files, self.folder, self.adapters, self.threshold, self.filter, self.job]
        self.start.click(
            self.run,
            [*inputs, self.turn, self.clicked],
            [self.progress, self.gallery, self.job],
            js=CLICKED,
            concurrency_limit=8,
            **quiet,
        )
        self.stop.click(Turn.stop, [self.turn, self.clicked], None, js=CLICKED, **quiet)
        gr.on(
            [self.filter.change, self.threshold.change],
            self.pictures,
            [self.job, self.filter, self.threshold],
            self.gallery,
            trigger_mode="always_last",
            **quiet,
        )
        self.gallery.select(
            self.select, [self.job, self.filter, self.threshold], self.selected, **quiet
        )
        self.make.click(self.download, [self.job, self.format, self.threshold], self.file, **quiet)
        files = gr.File(file_count="multiple", visible=False)
        files.preprocess = paths
        one = gr.Dropdown(self.choices.names(), visible=False, allow_custom_value=True)
        gr.Button(visible=False).click(
            self.detect_many,
            [files, one, self.threshold],
            gr.JSON(visible=False),
            api_name="detect_many",
            concurrency_limit=4,
        )

    # ---- people ----------------------------------------------------------------------------------

    def run(
        self,
        files: list[str] | None,
        folder: str | None,
        adapters: list[str],
        threshold: float,
        kind: str,
        job: Job,
        turn: Turn,
        clicked: float | None,
    ) -> Iterator[tuple[Any, ...]]:
        """Starts a job, or continues the one that was stopped, and follows it."""
        at = turn.start(clicked)
        try:
            job = self._job(files or [], folder, self.choices.valid(adapters), job)
            start, before = time.monotonic(), job.done

            def line() -> str:
                if not turn.goes_on(at):
                    return bar(job, "Stopped at ", ": continue at any time.")
                left = len(job.photos) - job.done
                return bar(job, "", rate(job.done - before, left, time.monotonic() - start))

            last: list[tuple[str, str]] = []
            yield line(), gr.skip(), job
            with closing(job.run(self.queue)) as counts:
                for _ in each_second(takewhile(lambda _: turn.goes_on(at), counts)):
                    pictures = self.pictures(job, kind, threshold)
                    yield line(), gr.skip() if pictures == last else pictures, job
                    last = pictures
            yield line(), self.pictures(job, kind, threshold), job
        except (OSError, ValueError, RuntimeError) as error:
            yield problem(sentence(error)), gr.skip(), job

    def _job(self, files: list[str], folder: str | None, adapters: list[str], job: Job) -> Job:
        """The visitor's job if it has these sources and adapters, else a new one."""
        sources = (tuple(files), folder, tuple(adapters))
        if job.sources == sources:
            return job
        root = folder_inside(self.root, folder) if folder and self.root else None
        new = new_job(files, root, adapters)
        new.sources = sources
        job.discard()
        return new

    def pictures(self, job: Job, kind: str, threshold: float) -> list[tuple[str, str]]:
        """The first PER_SCREEN pictures of a filter with their boxes and captions."""
        names = islice(job.chosen(kind, threshold), PER_SCREEN)
        return [self._picture(job, name, threshold) for name in names]

    def _picture(self, job: Job, name: str, threshold: float) -> tuple[str, str]:
        record = above(next(iter(job.answers[name].values())), threshold)
        if "error" in record:
            return job.blank(), record["error"]
        scores = ", ".join(f"{box['confidence']:.2f}" for box in record["boxes"])
        return str(job.picture(name, record, threshold)), f"{name}: {scores or 'no table'}"

    def select(self, job: Job, kind: str, threshold: float, event: gr.SelectData) -> str:
        """The name of the picture that was clicked."""
        names = list(job.chosen(kind, threshold))
        return names[event.index] if event.index < len(names) else ""

    def download(self, job: Job, form: str, threshold: float) -> gr.File:
        """A file with the answers so far, in one of the export formats."""
        if not job.answers:
            raise ValueError("there is no answer yet: start a job first")
        records = job.records(threshold)
        content = export(records, form, job.photos)
        file = job.folder / f"nutrition-tables.{ENDINGS[form]}"
        file.write_bytes(content)
        return gr.File(str(file), visible=True)

    # ---- programs --------------------------------------------------------------------------------

    def detect_many(self, photos: list[str], adapter: str, threshold: float) -> Iterator[Any]:
        """Finds the tables on many photos: one answer per photo, an error where there is none."""
        [name], least = self.choices.valid(adapter), valid_threshold(threshold)
        job = new_job(photos or [], None, [name])
        try:
            with closing(job.run(self.queue)) as counts:
                for _ in each_second(counts):
                    yield gr.skip()  # here Gradio ends the job of a client that has left
            yield job.records(least)
        finally:
            job.discard()


def paths(files: ListFiles | None) -> list[str]:
    """The paths of uploads; Gradio's own preprocessing leaves an empty file per upload."""
    return [file.path for file in files.root] if files else []


def each_second(counts: Iterator[int]) -> Iterator[int]:
    """One of these numbers per second."""
    last = 0.0
    for count in counts:
        if time.monotonic() - last > 1:
            last = time.monotonic()
            yield count


def folders_below(root: Path) -> list[str]:
    """The folder itself and those directly in it."""
    return [".", *sorted(path.name for path in root.iterdir() if path.is_dir())]


def rate(new: int, left: int, seconds: float) -> str:
    """Photos per second and the time left, in words; "" before the first photo."""
    if not new or not seconds:
        return ""
    time_left = f" · {left * seconds / new:.0f} s left" if left else ""
    return f" · {new / seconds:.1f} photos/s{time_left}"


def bar(job: Job, before: str, after: str) -> str:
    """A progress bar, below its numbers with words around them."""
    done, every = job.done, len(job.photos)
    return (
        f'<label>{before}{done} of {every} photos{after} <progress value="{done}" '
        f'max="{max(1, every)}" style="width:100%"></progress></label>'
    )
