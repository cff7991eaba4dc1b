"""Beside the training: its log on disk, the picture of it, and a tidy end on SIGTERM."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import reduce
from matplotlib.figure import Figure
from transformers import (
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from nutrition_vl.files import read_jsonl, write_jsonl
from training.plan.forecast import GIB, memory_now, peak_memory
from training.settings.config import TrainConfig

METRICS = "metrics.jsonl"
CURVE = "loss.png"
VALIDATION = "validation.jsonl"
SKIPPED = "skipped.jsonl"
README = "README.md"


class Log(TrainerCallback):
    """Writes one line of numbers a log step to metrics.jsonl and draws the loss at every save."""

    def __init__(self, run: Path) -> None:
        self.file = run / METRICS
        self.started, self.first = time.monotonic(), 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Forgets what a stopped run wrote after the checkpoint that it goes on from."""
        if state.is_world_process_zero:
            forget(self.file, state.global_step)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.started, self.first = time.monotonic(), state.global_step

    def on_log(
        self,
        args: TrainConfig,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Adds speed and memory to what the trainer counted."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        done = (state.global_step - self.first) * args.train_batch_size * args.world_size
        rate = done * args.gradient_accumulation_steps / (time.monotonic() - self.started)
        logs["photos_per_second"] = round(rate, 3)
        logs["peak_gib"] = round(peak_memory(args.device) / GIB, 3)
        if args.log_memory:
            logs |= {name: round(size / GIB, 3) for name, size in memory_now(args.device).items()}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step} | logs) + "\n")

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Draws the loss so far."""
        if state.is_world_process_zero:
            draw(read_jsonl(self.file), self.file.with_name(CURVE))


class Bar(ProgressCallback):
    """The progress bar, with the last numbers of the log on it instead of a line for each."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Shows loss, learning rate, photos a second and peak memory; tqdm adds the time left."""
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix_str(
                f"loss {logs['loss']:.3f}, rate {logs['learning_rate']:.1e}, "
                f"{logs['photos_per_second']:.2f} photos/s, peak {logs['peak_gib']:.2f} GiB"
            )

    def close(self) -> None:
        """Ends the line of the bar, so that what stopped the training starts on its own."""
        if self.training_bar is not None:
            self.training_bar.close()


def forget(file: Path, step: int) -> None:
    """Keeps only the lines up to a step."""
    kept = [row for row in read_jsonl(file) if row["step"] <= step]
    write_jsonl(file, kept)


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Saves the curve of the loss as a picture."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows])
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


class Goodbye(TrainerCallback):
    """On SIGTERM, which clusters send before they kill, ends the step, saves and stops."""

    def __init__(self) -> None:
        self.asked = self.stopped = False
        self.before: Any = signal.SIG_DFL

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Listens from now on."""
        self.before = signal.signal(signal.SIGTERM, self._hear)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Listens no more."""
        signal.signal(signal.SIGTERM, self.before)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Saves and stops if any process was asked to: all must do so at the same step."""
        asked = torch.tensor(float(self.asked), device=args.device)
        if reduce(asked, reduction="sum") > 0:
            self.stopped = state.global_step < state.max_steps
            control.should_save = control.should_training_stop = True

    def _hear(self, *_: Any) -> None:
        self.asked = True
