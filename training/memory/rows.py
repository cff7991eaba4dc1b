"""The rows of the memory report: each is forecast here and measured in a process of its own."""

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nutrition_vl.data import load_split
from nutrition_vl.files import read_jsonl, write_jsonl
from nutrition_vl.models.pixel_budget import budget_of
from nutrition_vl.models.random_weights import skeleton
from training.examples.examples import answer_text, length, patches
from training.memory.techniques import COMMON, TECHNIQUES
from training.plan.choose import choose
from training.plan.parameter_counts import trainable
from training.plan.plan import Workload
from training.plan.usage import GIB
from training.run.callbacks import METRICS
from training.run.folder import base_source, load_fitting_processor
from training.settings.cli import parse
from training.settings.config import TrainConfig

# Not timed: kernels are compiled in the first step, the layers' graphs captured in the second and
# first replayed in the third.
WARM_UP = 3
PHOTOS = 16
BOXES = [[0.25, 0.25, 0.5, 0.75], [0.5, 0.1, 0.75, 0.4]]  # y0, x0, y1, x1


@dataclass
class Row:
    """One technique, its forecast and its measurements: GB are 10^9 bytes, `seconds` a median."""

    key: str
    words: list[str]
    plan: str = ""
    forecast_gb: Mapping[str, float] = field(default_factory=dict)
    peak_gb: float = 0.0
    reserved_gb: float = 0.0
    seconds: float = 0.0
    photos_per_second: float = 0.0
    losses: Sequence[float] = ()
    problem: str = ""


def forecast(key: str, settings: Sequence[str], folder: Path, gpu: float | None = None) -> Row:
    """Returns a technique's row with its forecast, for this machine or for a GPU of so many GB.

    The row has a `problem` where this machine cannot do it.
    """
    words = [*COMMON.split(), *settings, *TECHNIQUES[key][1].split()]
    row = Row(key, [*words, "--output_dir", str(folder / key)])
    try:
        config = parse(row.words)
    except ValueError as error:
        row.problem = str(error)
        return row
    config = config if gpu is None else _on_gpu(config, words, gpu)
    processor = load_fitting_processor(config)
    photos = _noise(folder, budget_of(processor).max_tokens)
    row.words += ["--data_path", str(photos)]
    rows = load_split(str(photos), "train").remove_columns("image")
    name, count = config.model_name_or_path, patches(rows[0], processor)
    model = skeleton(name, base_source(name), config.model_revision)
    answer = answer_text(rows[0])
    work = Workload(
        model,
        trainable(model, config.lora, config.lora_bias),
        tokens=length(rows[0], processor),
        patches=count,
        labels=len(processor.tokenizer(answer)["input_ids"]) + 2,  # with the answer's end
        image_tokens=count // processor.image_processor.merge_size**2 * len(rows),
    )
    plan = choose(config, work)
    row.plan = str(plan)
    row.forecast_gb = {part: round(size / 1e9, 3) for part, size in plan.forecast.items()}
    return row


def measure(row: Row) -> None:
    """Trains in a new process, so that rows share no memory, and reads the run's log."""
    module = "training.memory.transformers_trainer" if row.key == "transformers" else "training"
    command = [sys.executable, "-m", module, *row.words]
    done = subprocess.run(command, capture_output=True, text=True)
    config = parse(row.words)
    log = read_jsonl(Path(str(config.output_dir)) / METRICS)
    if done.returncode or len(log) <= WARM_UP:
        row.problem = [*done.stderr.strip().splitlines(), "it wrote no log"][-1]
        return
    photos = config.per_device_train_batch_size * config.gradient_accumulation_steps
    ends = [photos * line["step"] / line["photos_per_second"] for line in log][WARM_UP - 1 :]
    row.seconds = statistics.median(after - before for before, after in pairwise(ends))
    row.photos_per_second = photos / row.seconds
    row.peak_gb = max(line["peak_gib"] for line in log) * GIB / 1e9
    row.reserved_gb = max(line["reserved_gib"] for line in log) * GIB / 1e9
    row.losses = [line["loss"] for line in log]


def _on_gpu(config: TrainConfig, words: Sequence[str], gpu: float) -> TrainConfig:
    """A copy of the settings as they would be on a GPU of so many GB."""
    config, limit = copy(config), config.memory_limit or gpu
    config.runtime = replace(config.runtime, device=torch.device("cuda"), dtype=torch.bfloat16)
    config.optim = config.optim if "--optim" in words else TrainConfig.optim
    config.memory_limit = config.memory_limit if config.low_memory else min(limit, gpu)
    return config


def _noise(folder: Path, budget: int) -> Path:
    """A folder of noise: photos that take exactly the token budget, with two boxes each."""
    folder = folder / f"photos-{budget}"
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    rows = max(side for side in range(1, int(budget**0.5) + 1) if budget % side == 0)
    noise, shape = np.random.default_rng(0), (28 * rows, 28 * (budget // rows), 3)
    objects = {"bbox": BOXES, "category_name": ["nutrition-table"] * len(BOXES)}
    names = [f"{number}.png" for number in range(PHOTOS)]
    for name in names:
        pixels = noise.integers(0, 255, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name, compress_level=1)
    lines = [{"file_name": name, "objects": objects} for name in names]
    write_jsonl(folder / "metadata.jsonl", lines)
    return folder
