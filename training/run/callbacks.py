"""Trainer callbacks: metrics log, loss curve, progress bar, SIGTERM."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import reduce
from matplotlib.figure import Figure
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState

from nutrition_vl.files import append_jsonl, read_jsonl, write_jsonl
from training.plan.usage import GIB, memory_now, peak_memory
from training.settings.config import TrainConfig

METRICS = "metrics.jsonl"
CURVE = "loss.png"
VALIDATION = "validation.jsonl"
SKIPPED = "skipped.jsonl"
README = "README.md"
Logs = dict[str, float] | None


class MetricsLog(TrainerCallback):
    """Writes one line per log step to metrics.jsonl and draws the loss curve at every save.

    `forecast` is the bytes that the plan expects at the peak of a step.
    """

    def __init__(self, config: TrainConfig, forecast: float = 0) -> None:
        self.file = Path(str(config.output_dir)) / METRICS
        self.started, self.first, self.forecast = time.monotonic(), 0, forecast

    def on_train_begin(self, args: TrainConfig, state: TrainerState, *_: Any, **__: Any) -> None:
        """Drops lines that a stopped run wrote after the checkpoint it resumes from."""
        if state.is_world_process_zero:
            drop_after(self.file, state.global_step)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.started, self.first = time.monotonic(), state.global_step

    def on_log(
        self, args: TrainConfig, state: TrainerState, *_: Any, logs: Logs = None, **__: Any
    ) -> None:
        """Adds speed and memory to the trainer's numbers."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        photos = (state.global_step - self.first) * args.train_batch_size * args.world_size
        rate = photos * args.gradient_accumulation_steps / (time.monotonic() - self.started)
        logs["photos_per_second"] = round(rate, 3)
        logs["peak_gib"] = round(peak_memory(args.device) / GIB, 3)
        if self.forecast:
            logs["forecast_gib"] = round(self.forecast / GIB, 3)
        if args.log_memory:
            logs |= {name: round(size / GIB, 3) for name, size in memory_now(args.device).items()}
        append_jsonl(self.file, {"step": state.global_step} | logs)

    def on_save(self, args: TrainConfig, state: TrainerState, *_: Any, **__: Any) -> None:
        """Draws the loss curve."""
        if state.is_world_process_zero:
            draw_loss(read_jsonl(self.file), self.file.with_name(CURVE))


class ProgressBar(ProgressCallback):
    """The progress bar with the latest numbers on it, instead of one line per log."""

    def on_log(
        self, args: TrainConfig, state: TrainerState, *_: Any, logs: Logs = None, **__: Any
    ) -> None:
        """Shows loss, learning rate, photos per second and peak memory; tqdm adds the time left."""
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix_str(
                f"loss {logs['loss']:.3f}, rate {logs['learning_rate']:.1e}, "
                f"{logs['photos_per_second']:.2f} photos/s, peak {logs['peak_gib']:.2f} GiB"
            )


@contextmanager
def progress_bar(trainer: Trainer) -> Iterator[None]:
    """Replaces transformers' progress bar by ours, and ends its line with the context."""
    bar = ProgressBar()
    if trainer.pop_callback(ProgressCallback):  # not there with --disable_tqdm True
        trainer.add_callback(bar)
    try:
        yield
    finally:
        if bar.training_bar is not None:  # an error message starts on its own line
            bar.training_bar.close()


def drop_after(file: Path, step: int) -> None:
    """Drops the lines of later steps from a log."""
    write_jsonl(file, [row for row in read_jsonl(file) if row["step"] <= step])


def draw_loss(rows: list[dict[str, Any]], file: Path) -> None:
    """Saves the loss curve as a picture."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows])
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


class StopOnSigterm(TrainerCallback):
    """On SIGTERM, which clusters send before they kill, finishes the step, saves and stops."""

    def __init__(self) -> None:
        self.received = self.stopped = False
        self.previous: Any = signal.SIG_DFL

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Installs the signal handler."""
        self.previous = signal.signal(signal.SIGTERM, self._receive)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Restores the previous signal handler."""
        signal.signal(signal.SIGTERM, self.previous)

    def on_step_end(
        self, args: TrainConfig, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Saves and stops if any process received it: all must stop at the same step."""
        received = torch.tensor(float(self.received), device=args.device)
        if reduce(received, reduction="sum") > 0:
            self.stopped = state.global_step < state.max_steps
            control.should_save = control.should_training_stop = True

    def report(self, state: TrainerState) -> str:
        """Where the run stopped and how it goes on; empty if it was not stopped."""
        step = f"step {state.global_step} of {state.max_steps}"
        resume = "go on with --resume_from_checkpoint True"
        return f"stopped at {step}: {resume}" if self.stopped else ""

    def _receive(self, *_: Any) -> None:
        self.received = True
