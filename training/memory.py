"""Measures what each technique of training takes, in memory and in time, on the machine at hand.

examples:
  python -m training.memory --model_name_or_path demo
  python -m training.memory --model_name_or_path random:7b --rows trl,fast,low --out report
"""

import argparse
import json
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import Qwen2VLForConditionalGeneration
from transformers.utils import logging

from nutrition_vl.architectures import is_random, random_checkpoint, skeleton
from nutrition_vl.data import load_split
from nutrition_vl.model import load_base
from training import runs
from training.architectures import quantizable
from training.config import TrainConfig, parse
from training.kernels import compiles
from training.measure import Bench, Row
from training.techniques import PLAIN, TECHNIQUES, Technique

PHOTOS = 16
BOXES = [[0.25, 0.25, 0.5, 0.75], [0.5, 0.1, 0.75, 0.4]]  # y0, x0, y1, x1


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; 0 when all was measured, 1 when some could not be, 2 for a mistake."""
    options, rest = parser().parse_known_args(arguments)
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = measure(options, rest)
    except (OSError, ValueError) as error:
        print(f"training.memory: {error}", file=sys.stderr)
        return 2
    return int(any(row.problem for row in rows))


def parser() -> argparse.ArgumentParser:
    """The command line; what it does not know are settings of the training."""
    about, _, details = (__doc__ or "").partition("\n")
    found = argparse.ArgumentParser(
        prog="python -m training.memory",
        description=about,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--out", type=Path, default=Path("runs/memory"), help="folder for the report")
    add("--rows", default=",".join(row.key for row in TECHNIQUES), help="which, by key")
    add("--steps", type=int, default=6, help="of each row, the first not counted (default 6)")
    return found


def measure(options: argparse.Namespace, rest: Sequence[str]) -> list[Row]:
    """Measures the rows asked for and writes each down as soon as it is known."""
    known = {row.key: row for row in TECHNIQUES}
    keys = options.rows.split(",")
    if strangers := [key for key in keys if key not in known]:
        raise ValueError(f"there is no row {strangers[0]}: use {', '.join(known)}")
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = [(known[key], _settings(known[key], options, rest, folder)) for key in keys]
        first = settings[0][1]
        base = runs.base_source(first.model_name_or_path)
        bones = skeleton(first.model_name_or_path, base, first.model_revision)
        data = _photos(Path(folder), first)
        with _weights(first, bones) as source:
            for quantization, group in groupby(settings, lambda pair: pair[1].quantization):
                model = load_base(source, first.runtime, quantization=quantization)
                for technique, config in group:
                    found.append(_row(technique, config, data, bones, model))
                    _save(options.out, found, first, bones, rest)
                del model
    return found


def _row(
    technique: Technique,
    config: TrainConfig,
    data: Path,
    bones: Qwen2VLForConditionalGeneration,
    model: Qwen2VLForConditionalGeneration,
) -> Row:
    """One row, printed as soon as it is known."""
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    rows = load_split(data, "train")
    rows = rows.select([at % len(rows) for at in range(config.max_steps * batch)])
    bench = Bench(rows, runs.load_fitting_processor(config), bones)
    row = bench.measure(technique, config, model)
    told = row.problem or (
        f"peak {row.peak / 1e9:.2f} GB, {row.seconds:.3f} s a step, "
        f"{row.photos_per_second:.2f} photos/s, loss {row.losses[-1]}"
    )
    print(f"{row.name:50} {told}", flush=True)
    return row


def _settings(
    technique: Technique, options: argparse.Namespace, rest: Sequence[str], folder: str
) -> TrainConfig:
    fixed = (
        f"--output_dir {folder}/run --max_steps {options.steps} --save_strategy no "
        "--logging_steps 1 --disable_tqdm True"
    )
    return parse([*fixed.split(), *PLAIN.split(), *rest, *technique.words.split()])


@contextmanager
def _weights(config: TrainConfig, bones: Qwen2VLForConditionalGeneration) -> Iterator[Any]:
    """Where the base is loaded from, once for each quantisation."""
    if is_random(config.model_name_or_path):
        with random_checkpoint(bones.config, config.runtime) as folder:
            yield folder
    else:
        yield runs.base_source(config.model_name_or_path)


def _photos(folder: Path, config: TrainConfig) -> Path:
    """Photos of noise that take just the budget's tokens, with two boxes each."""
    budget = runs.load_fitting_processor(config).image_processor.size["longest_edge"] // 28**2
    rows = max(side for side in range(1, int(budget**0.5) + 1) if budget % side == 0)
    noise, lines = np.random.default_rng(0), []
    for number in range(PHOTOS):
        pixels = noise.integers(0, 255, (28 * rows, 28 * (budget // rows), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)
        objects = {"bbox": BOXES, "category_name": ["nutrition-table"] * len(BOXES)}
        lines.append(json.dumps({"file_name": f"{number}.png", "objects": objects}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def _save(
    out: Path,
    rows: Sequence[Row],
    config: TrainConfig,
    bones: Qwen2VLForConditionalGeneration,
    rest: Sequence[str],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    report = {
        "command": " ".join(["python -m training.memory", *rest]),
        "base": config.model_name_or_path,
        "machine": config.runtime.reason,
        "python": platform.python_version(),
        "commit": runs.commit(),
        "compiled": config.runtime.device.type == "cuda" and compiles(),
        "versions": {name: version(name) for name in runs.PACKAGES},
        "multiplied": quantizable(bones).total(),
        "rows": [asdict(row) for row in rows],
    }
    partial = out / "memory.partial"
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    partial.replace(out / "memory.json")


if __name__ == "__main__":
    sys.exit(main())
