"""The page's tab of training runs: state, curves that follow a run, peak memory, the card."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import matplotlib
from matplotlib.figure import Figure

from nutrition_vl.files import read_jsonl
from nutrition_vl.models.checkpoints import CARD, best_checkpoint, list_checkpoints

METRICS, VALIDATION = "metrics.jsonl", "validation.jsonl"
TITLES = ["run", "state", "step", "loss", "peak GiB", "forecast GiB", "photos/s"]
TITLES += ["recipe", "data", "seed"]
QUIET = 120  # seconds without a new line after which a run counts as stopped
EVERY = 5  # seconds between two reads of the folder
ON_CPU = "on a CPU the peak includes Python and its libraries, the forecast does not"
Row = dict[str, Any]


class RunsTab:
    """Builds the tab over a folder of runs, which every refresh reads again."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        label = f"Runs in {runs.resolve().name} ({ON_CPU})"
        self.table = gr.Dataframe(headers=TITLES, label=label, interactive=False)
        self.run = gr.Dropdown(label="Run")
        self.curves = gr.Plot(label="Loss and validation")
        with gr.Accordion("Card", open=False):
            self.card = gr.JSON(show_label=False)
        timer = gr.Timer(EVERY)
        outputs = [self.table, self.run, self.curves, self.card]
        quiet: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
        timer.tick(self.refresh, self.run, outputs, **quiet)
        self.run.change(self.details, self.run, outputs[2:], **quiet)

    def refresh(self, name: str | None) -> tuple[Any, ...]:
        """The runs as they are now, the chosen one's curves and card."""
        names = [run.name for run in run_folders(self.runs)]
        chosen = name if name in names else next(iter(names), None)
        rows = [row(run) for run in run_folders(self.runs)]
        return rows, gr.Dropdown(names, value=chosen), *self.details(chosen)

    def details(self, name: str | None) -> tuple[Figure | None, Row]:
        """Curves and card of a run."""
        folders = {run.name: run for run in run_folders(self.runs)}
        run = folders.get(name or "")
        return (curves(run), card(run)) if run else (None, {})


def run_folders(runs: Path) -> list[Path]:
    """The folders of a runs folder that training has written to, newest first."""
    folders = [file.parent for file in runs.glob(f"*/{METRICS}")]
    return sorted(folders, key=lambda run: -(run / METRICS).stat().st_mtime)


def row(run: Path) -> list[Any]:
    """A run as one row below TITLES."""
    metrics, about = read_jsonl(run / METRICS), card(run)
    last = metrics[-1] if metrics else {}
    peak = max((line.get("peak_gib", 0.0) for line in metrics), default=0.0)
    numbers = [last.get("step", 0), last.get("loss"), peak]
    numbers += [last.get("forecast_gib"), last.get("photos_per_second")]
    return [run.name, state(run), *numbers, *(about.get(k) for k in ("recipe", "dataset", "seed"))]


def state(run: Path) -> str:
    """Running while lines come in; then finished if its last step is saved, else stopped."""
    if time.time() - (run / METRICS).stat().st_mtime < QUIET:
        return "running"
    saved = [json.loads(file.read_text()) for file in run.glob("checkpoint-*/trainer_state.json")]
    return "finished" if any(s["global_step"] >= s["max_steps"] for s in saved) else "stopped"


def card(run: Path) -> Row:
    """The card of a run's best checkpoint or its last; empty before the first."""
    checkpoints = list_checkpoints(run)
    if not checkpoints:
        return {}
    file = run / (best_checkpoint(run) or checkpoints[-1].name) / CARD
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def curves(run: Path) -> Figure:
    """Loss per step and, where there is validation, mean IoU per checkpoint."""
    metrics, scores = read_jsonl(run / METRICS), read_jsonl(run / VALIDATION)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes: Sequence[Any] = figure.subplots(1, 2, squeeze=False)[0]
    axes[0].plot([m["step"] for m in metrics], [m.get("loss") for m in metrics], color="#2b6cb0")
    axes[0].set(xlabel="step", ylabel="loss")
    axes[1].set(xlabel="step", ylabel="mean IoU", ylim=(0, 1))
    if scores:
        key = next(key for key in scores[0] if "iou" in key)
        axes[1].plot([s["step"] for s in scores], [s[key] for s in scores], marker="o")
    else:
        axes[1].text(0.5, 0.5, "no validation yet", ha="center", transform=axes[1].transAxes)
    return figure
