"""Carries out a plan: what the trainer is fed with, and what the model is while it trains."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from nutrition_vl.data.sources import photo_hashes
from training.examples import feature_cache as features
from training.examples.cached_collator import Embedder
from training.examples.examples import Collator, to_examples
from training.fast_step.answer_loss import scored
from training.fast_step.stack import write_out
from training.plan import offload as placement
from training.plan.plan import Plan
from training.settings.config import TrainConfig


class ApplyPlan(TrainerCallback):
    """Makes the model what the plan says for training's steps, and what it was before at the end.

    With `restore_on_save` also at every save, for those who detect with the model then.
    """

    def __init__(
        self, plan: Plan, model: Qwen2VLForConditionalGeneration, restore_on_save: bool
    ) -> None:
        self.plan, self.model, self.restore_on_save = plan, model, restore_on_save
        needed = plan.cached or plan.words_away
        weight = model.get_input_embeddings().weight.detach()
        self.words: Tensor = weight.cpu() if needed else weight
        self._undo: list[Callable[[], None]] = []

    def dataset_and_collator(
        self,
        config: TrainConfig,
        rows: Dataset,
        processor: Qwen2VLProcessor,
        skeleton: Qwen2VLForConditionalGeneration,
    ) -> tuple[Dataset, Callable]:
        """The examples and their collator; sees all photos first, if once is enough."""
        if not self.plan.cached:
            collator = Collator(processor, completion_only_loss=config.lora.answer_only)
            return to_examples(rows, processor), collator
        photos = photo_hashes(rows)
        with config.main_process_first():
            known = features.open_features(config.features, self.model, processor)
            features.compute(known, rows, photos, self.model, processor)
        embedder = Embedder(processor, known, self.words, skeleton, config.lora.answer_only)
        return features.to_seen(rows, photos), embedder

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Changes the model, once the trainer has put it where it wants it."""
        if not self._undo:
            self.begin(args.device)

    def on_save(self, *_: Any, **__: Any) -> None:
        """Lets others have the model as it was."""
        if self.restore_on_save:
            self.end()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Changes it back."""
        self.end()

    def begin(self, device: torch.device) -> None:
        """Changes the model."""
        plan, model, undo = self.plan, self.model, self._undo
        undo.append(_answers_only(model))
        if plan.cached:
            undo.append(placement.park_tower(model, device))
        if plan.words_away:
            undo.append(placement.park_words(model, self.words))
        if plan.head_away:
            undo.append(placement.park_head(model, device))
        if plan.lean:  # last, so that graphs let go of their memory before weights come back
            undo.append(write_out(model.model.language_model.layers, plan.kept, plan.graphs))
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def end(self) -> None:
        """Changes it back."""
        while self._undo:
            self._undo.pop()()


def _answers_only(model: Qwen2VLForConditionalGeneration) -> Callable[[], None]:
    """Has the model answer TRL's trainer with `scored`; returns what undoes it."""
    plain = model.forward

    @wraps(plain)
    def forward(*given: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if not fused_lm_head:
            return plain(*given, **inputs)
        inputs = {key: value for key, value in inputs.items() if value is not None}
        return scored(model, inputs.pop("labels"), inputs)

    model.forward = forward
    return lambda: setattr(model, "forward", plain)
