"""The rows of the memory report, foreseen or measured one after the other on one base."""

import argparse
import json
import math
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from nutrition_vl.data import load_split
from nutrition_vl.files import git_commit
from nutrition_vl.models.load import budget_of
from nutrition_vl.models.random_weights import skeleton
from training.fast_step.kernels import compiles
from training.memory import report as memory_report
from training.memory.measure import WARM, Bench, Row, release, reset_peak
from training.memory.techniques import PLAIN, TECHNIQUES, Technique
from training.plan.parameter_counts import quantizable
from training.plan.usage import peak_memory
from training.run import folder as runs
from training.run.model import load
from training.settings.cli import parse
from training.settings.config import TrainConfig

PHOTOS = 16
PARTS = ("weights", "adapters", "activations", "workspace")
BOXES = [[0.25, 0.25, 0.5, 0.75], [0.5, 0.1, 0.75, 0.4]]  # y0, x0, y1, x1


class Report:
    """The rows that were asked for, on one base and the same photos."""

    def __init__(self, options: argparse.Namespace, rest: Sequence[str], folder: Path) -> None:
        known = {row.key: row for row in TECHNIQUES}
        keys = options.rows.split(",")
        if strangers := [key for key in keys if key not in known]:
            raise ValueError(f"there is no row {strangers[0]}: use {', '.join(known)}")
        self.options, self.rest, self.folder = options, rest, folder
        self.settings: list[tuple[Technique, TrainConfig]] = []
        self.refused: list[Row] = []
        for technique in (known[key] for key in keys):
            try:
                self.settings.append((technique, self._settings(technique)))
            except ValueError as error:  # what this machine has not
                row = Row(technique.key, technique.name, technique.words, problem=str(error))
                self.refused.append(row)
        if not self.settings:
            raise ValueError(self.refused[0].problem)
        self.first = self.settings[0][1]
        base = runs.base_source(self.first.model_name_or_path)
        self.skeleton = skeleton(self.first.model_name_or_path, base, self.first.model_revision)

    def foresee(self) -> list[Row]:
        """Prints the forecast of each row, without a GPU, in GB by part."""
        table, rows = Table("technique", "GB", *PARTS, "plan"), []
        for technique, config in self.settings:
            self._as_on_gpu(technique, config)
            row, _ = self._bench(config).foresee(technique, config)
            parts = [f"{size / 1e9:.2f}" for size in row.forecast.values()]
            table.add_row(row.name, f"{sum(row.forecast.values()) / 1e9:.2f}", *parts, row.plan)
            rows.append(row)
        Console(width=160).print(table)
        return rows

    def measure(self) -> list[Row]:
        """Measures each row and writes the report anew as soon as it is known."""
        found: list[Row] = []
        for _, group in groupby(self.settings, lambda pair: _base_of(pair[1])):
            pairs = list(group)
            config = pairs[0][1]
            reset_peak(config.runtime.device)
            model = load(config, self.skeleton.config)
            loading = peak_memory(config.runtime.device)
            for technique, config in pairs:
                row = self._bench(config).measure(technique, config, model)
                row.before = max(row.before, loading)
                found.append(row)
                memory_report.write(self._facts(found), self.options.out)
                told = row.problem or f"{row.peak / 1e9:.2f} GB, {row.seconds:.3f} s a step"
                print(f"{row.name:50} {told}", flush=True)
            del model
            release()
        found += self.refused
        memory_report.write(self._facts(found), self.options.out)
        memory_report.show([asdict(row) for row in found])
        print(f"written: {self.options.out}")
        return found

    def _settings(self, technique: Technique) -> TrainConfig:
        fixed = (
            f"--output_dir {self.folder}/run --max_steps {WARM + self.options.steps} "
            "--save_strategy no --logging_steps 1 --disable_tqdm True"
        )
        words = (*fixed.split(), *PLAIN.split(), *self.rest, *technique.words.split())
        return parse(words)

    def _as_on_gpu(self, technique: Technique, config: TrainConfig) -> None:
        """Undoes what parsing on a CPU changed."""
        device = torch.device("cuda")
        config.runtime = replace(config.runtime, device=device, dtype=torch.bfloat16)
        if "--optim" not in (*self.rest, *technique.words.split()):
            config.optim = TrainConfig.optim
        if not config.low_memory:
            config.memory_limit = min(config.memory_limit or math.inf, self.options.forecast)

    def _bench(self, config: TrainConfig) -> Bench:
        batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
        processor = runs.load_fitting_processor(config)
        rows = load_split(_photos(self.folder, budget_of(processor).max_tokens), "train")
        rows = rows.select([at % len(rows) for at in range(config.max_steps * batch)])
        return Bench(rows, processor, self.skeleton)

    def _facts(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The report as it is written to memory.json."""
        given = ("--rows", self.options.rows, "--steps", str(self.options.steps), *self.rest)
        return {
            "command": shlex.join(("python", "-m", "training.memory", *given)),
            "base": self.first.model_name_or_path,
            "machine": self.first.runtime.reason,
            "python": platform.python_version(),
            "commit": git_commit(),
            "compiled": self.first.runtime.device.type == "cuda" and compiles(),
            "versions": {name: version(name) for name in runs.PACKAGES},
            "notes": [],
            "multiplied": quantizable(self.skeleton).total(),
            "rows": [asdict(row) for row in rows],
        }


def _base_of(config: TrainConfig) -> tuple[str, bool]:
    """What rows must have in common to train on the same loaded base."""
    return config.quantization, config.low_memory


def _photos(folder: Path, budget: int) -> Path:
    """A folder in it of noise: photos that take just so many tokens, with two boxes each."""
    folder = folder / str(budget)
    if folder.exists():
        return folder
    folder.mkdir()
    rows = max(side for side in range(1, int(budget**0.5) + 1) if budget % side == 0)
    noise, lines = np.random.default_rng(0), []
    for number in range(PHOTOS):
        pixels = noise.integers(0, 255, (28 * rows, 28 * (budget // rows), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)
        objects = {"bbox": BOXES, "category_name": ["nutrition-table"] * len(BOXES)}
        lines.append(json.dumps({"file_name": f"{number}.png", "objects": objects}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
