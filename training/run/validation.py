"""Chooses the best checkpoint by what users feel: boxes drawn on photos it was not trained on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from accelerate.utils import parse_flag_from_env
from datasets import Dataset
from peft import PeftModel
from supervision.metrics import F1Score
from tqdm import tqdm
from transformers import (
    Qwen2VLProcessor,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from nutrition_vl.data import load_split, truth
from nutrition_vl.detector import Detector
from nutrition_vl.files import read_jsonl, write_atomically
from nutrition_vl.models.checkpoints import BEST
from training.examples.examples import to_example
from training.run.callbacks import VALIDATION, drop_after
from training.settings.config import TrainConfig

BATCH = 4


def validation(
    config: TrainConfig, rows: Dataset, processor: Qwen2VLProcessor
) -> list[TrainerCallback]:
    """The validation callback if the settings ask for one, on photos that are not trained on."""
    if not config.validation_photos:
        return []
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise ValueError(
            "boxes cannot be generated from a base that is spread over several cards: leave out "
            "--validation_photos and compare the checkpoints with python -m eval"
        )
    source = config.validation_path or config.data_path
    corrected = None if config.validation_path else config.corrected  # made for data_path
    held_out = load_split(source, "val", config.validation_photos, corrections=corrected)
    if config.validation_path is None and set(held_out["id"]) & set(rows["id"]):
        raise ValueError(f"{source} has no split of its own for validation: name --validation_path")
    if not any(held_out["xyxy"]):
        raise ValueError(f"the {len(held_out)} validation photos of {source} show no box")
    for row in held_out:  # an unreadable one stops the run now and not at the first save
        to_example(row, processor)
    return [Validation(config, held_out, processor)]


class Validation(TrainerCallback):
    """Detects on the same photos at every save, logs mean IoU and F1, and names the best."""

    def __init__(self, config: TrainConfig, rows: Dataset, processor: Any) -> None:
        self.config, self.rows, self.processor = config, rows, processor
        self.run = Path(str(config.output_dir))
        self.file = self.run / VALIDATION

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Forgets what a stopped run wrote after the checkpoint that it goes on from."""
        if state.is_world_process_zero:
            drop_after(self.file, state.global_step)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PeftModel,
        **_: Any,
    ) -> None:
        """Scores the checkpoint just saved and stops the run if too many have not been better."""
        score = {"step": state.global_step} | _loss(state) | self._score(model)
        if state.is_world_process_zero:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(score) + "\n")
        scores = [row for row in read_jsonl(self.file) if row["step"] < state.global_step]
        best = max([*scores, score], key=lambda row: (row["mean_iou"], -row["step"]))
        if state.is_world_process_zero:
            write_atomically(self.run / BEST, f"checkpoint-{best['step']}\n")
            tqdm.write(_told(score, best is score))
        since = sum(row["step"] > best["step"] for row in [*scores, score])
        if self.config.patience and since >= self.config.patience:
            control.should_training_stop = True

    def _score(self, model: PeftModel) -> dict[str, float]:
        """Mean IoU over all true boxes, 0 for a missed one, and F1 at an IoU of 0.5."""
        found = self._detect(model)
        truths = [truth(row) for row in self.rows.remove_columns("image")]
        overlaps = [best_iou(told, true) for told, true in zip(found, truths, strict=True)]
        f1 = F1Score().update(found, truths).compute().f1_50
        return {"mean_iou": float(np.concatenate(overlaps).mean()), "f1": float(f1)}

    def _detect(self, model: PeftModel) -> list[sv.Detections]:
        """What the page would show: the detector on the model as it is, which then learns on."""
        base = model.get_base_model()
        own, learning = base.generation_config, model.training
        detector = Detector("", base, self.processor, self.config.runtime)
        model.eval()
        batches = [self.rows[at : at + BATCH]["image"] for at in range(0, len(self.rows), BATCH)]
        found = [answer.detections for photos in batches for answer in detector.detect(photos)]
        base.generation_config = own
        model.train(learning)
        return found


def _loss(state: TrainerState) -> dict[str, float]:
    """The last training loss, which is to be read beside the boxes."""
    losses = [line["loss"] for line in state.log_history if "loss" in line]
    return {"loss": losses[-1]} if losses else {}


def _told(score: dict[str, float], best: bool) -> str:
    return (
        f"checkpoint-{score['step']}: mean IoU {score['mean_iou']:.3f}, F1 {score['f1']:.3f}"
        f"{', the best so far' if best else ''}"
    )


def best_iou(found: sv.Detections, true: sv.Detections) -> np.ndarray:
    """The IoU of each true box with the found box that covers it best, 0 where none was found."""
    if not len(found) or not len(true):
        return np.zeros(len(true))
    return sv.box_iou_batch(true.xyxy, found.xyxy).max(axis=1)
