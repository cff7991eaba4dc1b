"""Chooses the best checkpoint by its boxes on photos it was not trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from accelerate.utils import parse_flag_from_env
from datasets import Dataset
from peft import PeftModel
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState

from nutrition_vl.data import load_split
from nutrition_vl.data.sources import photo_file, undecoded
from nutrition_vl.detector import Detector
from nutrition_vl.files import append_jsonl, read_jsonl, write_atomically
from nutrition_vl.matching import best_iou, iou, is_right
from nutrition_vl.models.checkpoints import BEST
from nutrition_vl.models.family import Processor
from training.examples.examples import to_example
from training.run.callbacks import VALIDATION, drop_after
from training.settings.config import TrainConfig

BATCH = 4


def validation(config: TrainConfig, rows: Dataset, processor: Processor) -> list[TrainerCallback]:
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
    held_out = load_split(
        source, "val", config.validation_photos, corrections=corrected, label=config.label
    )
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
        self, args: TrainConfig, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Drops scores of later steps; adds the resumed checkpoint's if a kill cost them."""
        step = state.global_step
        if state.is_world_process_zero:
            drop_after(self.file, step)
        scored = any(row["step"] == step for row in read_jsonl(self.file))
        if not scored and (self.run / f"checkpoint-{step}").is_dir():
            self.on_save(args, state, control, **given)

    def on_save(
        self,
        args: TrainConfig,
        state: TrainerState,
        control: TrainerControl,
        model: PeftModel,
        **_: Any,
    ) -> None:
        """Scores the checkpoint just saved and stops the run after `patience` worse ones."""
        truths = [np.reshape(xyxy, (-1, 4)) for xyxy in self.rows["xyxy"]]
        losses = [{"loss": line["loss"]} for line in state.log_history if "loss" in line]
        score = {"step": state.global_step} | (losses or [{}])[-1]
        score |= box_scores(truths, self._detect(model))
        if state.is_world_process_zero:
            append_jsonl(self.file, score)
        scores = [row for row in read_jsonl(self.file) if row["step"] < state.global_step]
        best = max([*scores, score], key=lambda row: (row["mean_iou"], -row["step"]))
        if state.is_world_process_zero:
            write_atomically(self.run / BEST, f"checkpoint-{best['step']}\n")
            tqdm.write(_line(score, best is score))
        since = sum(row["step"] > best["step"] for row in [*scores, score])
        if self.config.patience and since >= self.config.patience:
            control.should_training_stop = True

    def _detect(self, model: PeftModel) -> list[sv.Detections]:
        """The boxes that the page would show, from the model in training as it is now."""
        base = model.get_base_model()
        training = model.training
        detector = Detector.around(base, self.processor)
        model.eval()
        photos = map(photo_file, undecoded(self.rows)["image"])
        answers = [one.unwrap() for one in detector.stream(photos, batch_size=BATCH)]
        model.train(training)
        return [answer.detections for answer in answers]


def box_scores(truths: list[np.ndarray], boxes: list[sv.Detections]) -> dict[str, float]:
    """Mean IoU over all true boxes, 0 for a missed one, and F1 at an IoU of 0.5."""
    overlaps = [iou(true, one.xyxy) for true, one in zip(truths, boxes, strict=True)]
    pairs = zip(overlaps, boxes, strict=True)
    right = sum(is_right(overlap, np.asarray(one.confidence)).sum() for overlap, one in pairs)
    best = np.concatenate([best_iou(overlap) for overlap in overlaps])
    f1 = 2 * right / (sum(map(len, boxes)) + sum(map(len, truths)))
    return {"mean_iou": float(best.mean()), "f1": float(f1)}


def _line(score: dict[str, float], best: bool) -> str:
    return (
        f"checkpoint-{score['step']}: mean IoU {score['mean_iou']:.3f}, F1 {score['f1']:.3f}"
        f"{', the best so far' if best else ''}"
    )
