"""Every checkpoint of every run on the same photos: the base is loaded once, adapters change."""

import json
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from eval.answers import Answers, join, truth_of
from eval.config import EvalConfig
from eval.predict import gaps, predict
from eval.predictions import read_lines
from eval.targets import BARE, Target
from nutrition_vl import prompts
from nutrition_vl.checkpoints import resolve
from nutrition_vl.data import DATASET
from nutrition_vl.detector import Detector


def sweep(plan: Sequence[Target], rows: Dataset, config: EvalConfig) -> list[Answers]:
    """Predicts what is missing and reads all of it back, in the order of the plan."""
    for target in plan:
        _settle(target, config)
    disable_progress_bar()  # of the weights, which would break ours
    detectors: dict[str, Detector] = {}
    with tqdm(total=len(plan) * len(rows), unit="photo") as progress:
        for target in plan:
            progress.set_description(target.name)
            todo = gaps(rows, target.file)
            progress.update(len(rows) - len(todo))
            if todo:  # no model is loaded for what is all there
                detector = _detector(target, detectors, config.device)
                left = rows.select(todo)
                predict(detector, target.adapter, left, target.file, config.batch_size, progress)
    return [_answers(target, rows) for target in plan]


def _detector(target: Target, loaded: dict[str, Detector], device: str) -> Detector:
    """The one detector of the target's base."""
    if target.base not in loaded:
        loaded[target.base] = Detector.load(target.checkpoint, adapter=BARE, device=device)
    return loaded[target.base]


def _answers(target: Target, rows: Dataset) -> Answers:
    """From the file alone; it may hold more photos than a --limit asks for."""
    truths = truth_of(rows)
    asked = {truth.id for truth in truths}
    found = [entry for entry in read_lines(target.file) if entry.photo in asked]
    return join(target.name, truths, found)


def _settle(target: Target, config: EvalConfig) -> None:
    """Notes beside the predictions what they are of, so that nothing else is ever mixed in."""
    data = str(config.data or DATASET)
    settings = {
        "data": str(Path(data).resolve()) if Path(data).exists() else data,
        "split": config.split,
        "prompt": prompts.fingerprint(),
        "weights": _weights(target),
    }
    file = target.file.with_suffix(".json")
    if not target.file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for key, value in settings.items():
        if before.get(key) != value:
            raise ValueError(
                f"{target.file} was predicted with {key} {before.get(key)}, now it is {value}:"
                " move that file away, or choose another --out"
            )


def _weights(target: Target) -> list[str]:
    """Size and time of each local weights file: training anew changes them."""
    adapter = resolve(target.adapter).adapter if target.adapter != BARE else None
    folders = [folder for folder in (Path(target.base), adapter) if folder and folder.is_dir()]
    found = [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]
    return [f"{file.name} {file.stat().st_size} {file.stat().st_mtime:.0f}" for file in found]
