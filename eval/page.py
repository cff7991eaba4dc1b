"""The page's tab of evaluations: start, watch, stop, resume; the report; the photos behind it."""

import html
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr
import numpy as np

from eval.config import parse
from eval.report.results import Report, Result
from eval.sweep.score import score
from nutrition_vl.matching import same_boxes
from nutrition_vl.models.checkpoints import list_checkpoints
from nutrition_vl.page.guard import uploads
from nutrition_vl.page.photo import PhotoTab
from nutrition_vl.page.visitor import CLICKED, AdapterChoices, Truth, Turn

TITLES = ["photo", "tables", "boxes", "IoU", "remark"]
REMARKS = ["all", "false alarm", "missed", "checkpoints disagree"]
STOPPED = "<p>Stopped: the predictions so far stay, resume at any time.</p>"
RIGHT = 0.5  # IoU from which a table counts as found
Line = tuple[int, list[Any]]  # index of the photo in the split, its row of TITLES


@dataclass
class Evaluation:
    """One visitor's report and the photos behind it, worst first."""

    report: Report | None = None
    runs: list[str] = field(default_factory=list)
    source: str = ""
    split: str = ""
    lines: list[Line] = field(default_factory=list)

    def of_remark(self, remark: str) -> list[Line]:
        """The photos with a remark, or all."""
        return [line for line in self.lines if remark in ("all", *line[1][-1].split(", "))]


class EvaluateTab:
    """Builds the tab over a folder of runs and one of labelled sources."""

    def __init__(self, runs: Path, data: Path | None, adapters: AdapterChoices) -> None:
        self.root, self.data, self.adapters, self.lock = runs, data, adapters, Lock()
        with gr.Row():
            self.runs = gr.Dropdown(
                run_names(runs), value=[], multiselect=True, label="Runs (none: the page's own)"
            )
            folders = [path.name for path in sorted(data.iterdir())] if data else []
            place = data.resolve().name if data else "--data DIR"
            self.source = gr.Dropdown(folders, label=f"Labelled photos in {place}")
            self.split = gr.Textbox("val", label="Split")
        with gr.Row():
            self.start = gr.Button("Start or resume", variant="primary", min_width=120)
            self.stop = gr.Button("Stop", min_width=120)
        self.progress = gr.HTML(elem_classes="live")
        self.remark = gr.Radio(REMARKS, value="all", label="Photos, worst first: click one")
        self.table = gr.Dataframe(headers=TITLES, interactive=False, max_height=260)
        self.document = gr.HTML()
        self.state, self.turn = gr.State(Evaluation()), gr.State(Turn())
        self.clicked = gr.Number(visible=False)
        self._events()

    def _events(self) -> None:
        quiet: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
        inputs = [self.runs, self.source, self.split]
        self.start.click(
            self.run,
            [*inputs, self.turn, self.clicked],
            [self.progress, self.document, self.table, self.state],
            js=CLICKED,
            trigger_mode="multiple",  # a start ends the visitor's one before it
            concurrency_limit=8,
            **quiet,
        )
        self.stop.click(Turn.stop, [self.turn, self.clicked], None, js=CLICKED, **quiet)
        self.remark.change(
            lambda state, remark: [row for _, row in state.of_remark(remark)],
            [self.state, self.remark],
            self.table,
            **quiet,
        )
        gr.Button(visible=False).click(
            self.evaluate,
            inputs,
            gr.JSON(visible=False),
            api_name="evaluate",
            concurrency_limit=8,
        )

    def open_in(self, photo: PhotoTab, tabs: gr.Tabs) -> None:
        """Opens a photo of the table in the Photo tab at a click."""
        outputs = [photo.photo, photo.truth, photo.adapters]
        inputs: list[Any] = [self.state, self.remark]
        event = self.table.select(self.selected, inputs, outputs, api_visibility="private")
        event.then(lambda: gr.Tabs(selected="photo"), None, tabs, api_visibility="private")

    def run(
        self, runs: list[str], source: str, split: str, turn: Turn, clicked: float | None
    ) -> Iterator[tuple[Any, ...]]:
        """Runs `python -m eval`, yields its progress and at the end its report."""
        keep, at = [gr.skip()] * 3, turn.start(clicked)
        try:
            arguments, out = self._arguments(runs, source, split)
            with closing(self._follow(arguments)) as lines:
                for line in takewhile(lambda _: turn.goes_on(at), lines):
                    yield f"<p>{html.escape(line)}</p>", *keep
            if not turn.goes_on(at):
                yield STOPPED if turn.is_stopped(at) else gr.skip(), *keep
                return
            report = score(parse(arguments))  # from the files: no model runs
            assert report is not None
            state = Evaluation(report, runs, source, split, lines_of(report))
            page = html.escape((out / "report.html").read_text(encoding="utf-8"))
            frame = (
                f'<iframe title="Report" srcdoc="{page}" style="width:100%;height:80vh"></iframe>'
            )
            yield (
                f"<p>{html.escape(source)}, split {html.escape(split)}</p>",
                frame,
                [row for _, row in state.lines],
                state,
            )
        except (OSError, ValueError) as error:
            yield f'<p class="problem">{html.escape(str(error))}</p>', *keep

    def evaluate(self, runs: list[str], source: str, split: str) -> Iterator[Any]:
        """Evaluates runs on a labelled source: every number of the report."""
        arguments, _ = self._arguments(runs, source, split)
        with closing(self._follow(arguments)) as lines:
            for line in lines:
                last = line
                yield gr.skip()  # here Gradio ends the evaluation of a client that has left
        yield json.loads(last)

    def selected(
        self, state: Evaluation, remark: str, event: gr.SelectData
    ) -> tuple[str, Truth, list[str]]:
        """A copy of the clicked photo, its true boxes, the adapters to compare."""
        index, _ = state.of_remark(remark)[event.index[0]]
        assert state.report is not None and state.report.rows is not None
        row = state.report.rows[index]
        # A name of its own, so that an upload of the same name has no truth.
        name = f"{Path(row['id']).stem[:60]}-"
        with tempfile.NamedTemporaryFile(
            prefix=name, suffix=".png", dir=uploads(), delete=False
        ) as file:
            row["image"].save(file)
        pairs = zip(row["xyxy"], row["label"], strict=True)
        boxes = [{"xyxy": xyxy, "label": label} for xyxy, label in pairs]
        truth = Truth(Path(file.name).name, state.source, row["id"], state.split, boxes)
        return file.name, truth, self._adapters(state)

    def _follow(self, arguments: list[str]) -> Generator[str]:
        """Runs one evaluation at a time, for a second one doubles the memory."""
        while not self.lock.acquire(timeout=0.5):
            yield "Waiting for another evaluation…"
        try:
            yield from follow(arguments)
        finally:
            self.lock.release()

    def _adapters(self, state: Evaluation) -> list[str]:
        """Up to four adapters of the evaluated runs, the last checkpoint of each, and none."""
        names = self.adapters.names()
        last = [str(list_checkpoints(self.root / run)[-1]) for run in state.runs]
        return [*[name for name in last if name in names][:3], "none"] if last else names[:1]

    def _arguments(self, runs: list[str], source: str, split: str) -> tuple[list[str], Path]:
        """The command line of the evaluation and the folder of its report."""
        if not self.data:
            raise ValueError("start the page with --data DIR, a folder of labelled sources")
        if not source or source not in [path.name for path in self.data.iterdir()]:
            raise ValueError(f"choose labelled photos in {self.data}")
        if unknown := [run for run in runs if run not in run_names(self.root)]:
            raise ValueError(f"there is no run {unknown[0]} in {self.root}")
        if not re.fullmatch(r"[\w.-]{1,40}", split or ""):
            raise ValueError(f"{split!r} is not a split's name")
        models = [word for run in runs for word in ("--run", str(self.root / run))]
        out = self.root / "eval" / "-".join([*runs, source, split])[:120]
        where = ["--data", str(self.data / source), "--split", split, "--out", str(out)]
        return [*(models or ["--checkpoint", self.adapters.own]), *where], out


def follow(arguments: list[str]) -> Generator[str]:
    """Runs `python -m eval`; yields its progress and last its output. Leaving stops the command.

    ValueError with its one sentence where it fails.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "eval", *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=log)
        try:
            while process.poll() is None:
                time.sleep(0.5)
                yield _tail(log) or "Loading…"
        finally:
            process.terminate()
            process.wait()
        if process.returncode:
            raise ValueError(_tail(log) or f"the evaluation ended with {process.returncode}")
        yield _tail(output)


def lines_of(report: Report) -> list[Line]:
    """A line per photo for the best row, those with the lowest IoU first."""
    best = report.best
    lines = [(index, _line(report, best, index)) for index in range(len(best.answers.ids))]
    return sorted(
        lines, key=lambda line: (line[1][-1] == "", 1 if line[1][3] is None else line[1][3])
    )


def run_names(runs: Path) -> list[str]:
    """The runs in a folder that have a checkpoint."""
    folders = runs.iterdir() if runs.is_dir() else []
    return sorted(path.name for path in folders if path.is_dir() and list_checkpoints(path))


def _line(report: Report, best: Result, index: int) -> list[Any]:
    truth, boxes = best.answers.boxes_of(index)
    overlap = best.counts.photo_iou(index)
    remarks = ["false alarm"] if len(boxes) and not len(truth) else []
    remarks += ["missed"] if len(truth) and overlap < RIGHT else []
    others = [row.answers.boxes_of(index)[1].xyxy for row in report.results if row is not best]
    remarks += [] if all(same_boxes(boxes.xyxy, other) for other in others) else [REMARKS[-1]]
    value = None if np.isnan(overlap) else round(overlap, 3)
    return [best.answers.ids[index], len(truth), len(boxes), value, ", ".join(remarks)]


def _tail(file: Any) -> str:
    """The last line that a command wrote, progress bars included."""
    file.seek(0)
    lines = re.split(r"[\r\n]+", file.read().strip())
    return lines[-1].strip()
