"""The tab for many photos: files, a zip or a folder; stop, continue, filter, download."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ListFiles

from nutrition_vl.export import ENDINGS, export
from nutrition_vl.page.choices import AdapterChoices, adapter_inputs, checked_threshold
from nutrition_vl.page.drawing import problem
from nutrition_vl.page.guard import sentence
from nutrition_vl.page.job import FILTERS, Job, inside, new_job, shown
from nutrition_vl.page.queue import DetectionQueue

PER_SCREEN = 60  # pictures of the gallery
Record = dict[str, Any]


class ManyTab:
    """Builds the tab. `selected` is the name of the photo last clicked in the gallery."""

    def __init__(self, queue: DetectionQueue, choices: AdapterChoices, photos: Path | None) -> None:
        self.queue, self.choices, self.root = queue, choices, photos
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._inputs()
            with gr.Column(scale=3, min_width=300):
                self._outputs()
        self._events()

    # ---- layout ----------------------------------------------------------------------------------

    def _inputs(self) -> None:
        self.files = gr.File(
            label="Photos or a zip", file_count="multiple", file_types=["image", ".zip"], height=160
        )
        self.files.preprocess = paths
        folders = folders_below(self.root) if self.root else []
        self.folder = gr.Dropdown(
            folders, value=None, label=f"or a folder below {self.root}", visible=bool(folders)
        )
        self.adapters, self.threshold = adapter_inputs(self.choices)
        with gr.Row():
            self.start = gr.Button("Start or continue", variant="primary")
            self.stop = gr.Button("Stop")
        self.format = gr.Dropdown(list(ENDINGS), value="jsonl", label="File format")
        self.make = gr.Button("Make file to download")
        self.file = gr.File(label="Download", interactive=False)

    def _outputs(self) -> None:
        self.progress = gr.HTML(elem_classes="live")
        self.filter = gr.Radio(FILTERS, value="all", label="Show")
        self.gallery = gr.Gallery(
            label="Answers", columns=4, height=560, format="jpeg", allow_preview=False
        )
        with gr.Row():
            self.open_photo = gr.Button("Open in Photo", size="sm")
            self.open_editor = gr.Button("Correct", size="sm")
        self.job, self.selected = gr.State(Job(), delete_callback=Job.discard), gr.State("")

    def _events(self) -> None:
        quiet: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
        self.start.click(
            self.run,
            [self.files, self.folder, self.adapters, self.threshold, self.filter, self.job],
            [self.progress, self.gallery, self.job],
            concurrency_limit=8,
            **quiet,
        )
        # Not `cancels`: the browser sends it late, and it would end the next start too.
        self.stop.click(self.end, self.job, None, **quiet)
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
    ) -> Iterator[tuple[Any, ...]]:
        """Starts a job, or continues the one that was stopped, and follows it."""
        try:
            job = self._job(files or [], folder, self.choices.checked(adapters), job)
            start, before, redrawn = time.monotonic(), job.done, 0.0
            last: list[tuple[str, str]] = []
            yield bar(before, len(job.photos), 0, 0), gr.skip(), job
            for done in job.run(self.queue):
                now = time.monotonic()
                if now - redrawn > 1:
                    redrawn = now
                    drawn = self.pictures(job, kind, threshold)
                    new = gr.skip() if drawn == last else drawn
                    last = drawn
                    yield bar(done, len(job.photos), done - before, now - start), new, job
            seconds = time.monotonic() - start
            drawn = self.pictures(job, kind, threshold)
            every = len(job.photos)
            line = self.stopped(job) if job.stopping else bar(every, every, every - before, seconds)
            yield line, drawn, job
        except (OSError, ValueError, RuntimeError) as error:
            yield problem(sentence(error)), gr.skip(), job

    def _job(self, files: list[str], folder: str | None, adapters: list[str], job: Job) -> Job:
        """The visitor's job if it has these sources and adapters, else a new one."""
        sources = (tuple(files), folder, tuple(adapters))
        if job.sources == sources:
            return job
        root = inside(self.root, folder) if folder and self.root else None
        new = new_job(files, root, adapters)
        new.sources = sources
        job.discard()
        return new

    def end(self, job: Job) -> None:
        """Stops the visitor's job after the photos that are being answered."""
        job.stopping = True

    def stopped(self, job: Job) -> str:
        """The line after a stop."""
        return f"<p>Stopped at {job.done} of {len(job.photos)} photos: continue at any time.</p>"

    def pictures(self, job: Job, kind: str, threshold: float) -> list[tuple[str, str]]:
        """The first PER_SCREEN pictures of a filter with their boxes and captions."""
        names = islice(job.chosen(kind, threshold), PER_SCREEN)
        return [self._picture(job, name, threshold) for name in names]

    def _picture(self, job: Job, name: str, threshold: float) -> tuple[str, str]:
        record = shown(next(iter(job.answers[name].values())), threshold)
        if "error" in record:
            return job.blank(), record["error"]
        scores = ", ".join(f"{box['confidence']:.2f}" for box in record["boxes"])
        return str(job.framed(name, record, threshold)), f"{name}: {scores or 'no table'}"

    def select(self, job: Job, kind: str, threshold: float, event: gr.SelectData) -> str:
        """The name of the picture that was clicked."""
        names = list(job.chosen(kind, threshold))
        return names[event.index] if event.index < len(names) else ""

    def download(self, job: Job, form: str, threshold: float) -> str:
        """A file with the answers so far, in one of the export formats."""
        if not job.answers:
            raise gr.Error("there is no answer yet: start a job first", print_exception=False)
        records = job.records(threshold)
        content = export(records, form, job.photos)
        file = job.folder / f"nutrition-tables.{ENDINGS[form]}"
        file.write_bytes(content)
        return str(file)

    # ---- programs --------------------------------------------------------------------------------

    def detect_many(self, photos: list[str], adapter: str, threshold: float) -> list[Record]:
        """Finds the tables on many photos: one answer per photo, an error where there is none."""
        try:
            [name], least = self.choices.checked(adapter), checked_threshold(threshold)
            job = new_job(photos or [], None, [name])
            try:
                for _ in job.run(self.queue):
                    pass
            finally:
                job.discard()
        except (OSError, ValueError, RuntimeError) as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        return job.records(least)


def paths(files: ListFiles | None) -> list[str]:
    """The paths of uploads; Gradio's own way leaves an empty file per upload."""
    return [file.path for file in files.root] if files else []


def folders_below(root: Path) -> list[str]:
    """The folder itself and those directly in it."""
    return [".", *sorted(path.name for path in root.iterdir() if path.is_dir())]


def bar(done: int, every: int, new: int, seconds: float) -> str:
    """A progress bar with rate and time left."""
    rate = new / seconds if new and seconds else 0.0
    left = f" · {rate:.1f} photos/s · {(every - done) / rate:.0f} s left" if rate else ""
    return (
        f'<label>{done} of {every} photos{left} <progress value="{done}" max="{max(1, every)}" '
        f'style="width:100%"></progress></label>'
    )
