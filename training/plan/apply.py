"""Applies a plan to a run: its examples and collator, and the model while it trains."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nutrition_vl.models.family import Model, Processor
from training.examples import feature_cache as features
from training.examples.cached_collator import Embedder
from training.examples.examples import Collator, to_examples, with_features
from training.examples.resized_photos import ResizedPhotos
from training.fast_step.answer_loss import answer_loss
from training.fast_step.stack import fused_layers
from training.plan import offload
from training.plan.plan import Plan
from training.settings.config import TrainConfig


class ApplyPlan(TrainerCallback):
    """Applies a Plan while training runs and undoes it at the end.

    With `restore_on_save` also at each save, for callbacks that detect with the model then.
    """

    def __init__(self, plan: Plan, model: Model, restore_on_save: bool) -> None:
        self.plan, self.model, self.restore_on_save = plan, model, restore_on_save
        matrix = model.get_input_embeddings().weight.detach()
        on_cpu = plan.cache_features or plan.offload_embeddings
        self.embeddings = matrix.cpu() if on_cpu else matrix
        self.changes: ExitStack | None = None

    def dataset_and_collator(
        self,
        config: TrainConfig,
        rows: Dataset,
        processor: Processor,
        skeleton: Model,
        resized: ResizedPhotos | None = None,
    ) -> tuple[Dataset, Callable]:
        """Returns the examples and their collator; computes missing visual features first."""
        if not self.plan.cache_features:
            collator = Collator(processor, completion_only_loss=config.lora.answer_only)
            return to_examples(rows, processor), collator
        with config.main_process_first():
            cache = features.open_features(config.features, self.model, processor)
            features.compute(cache, rows, self.model, processor, resized)
        embedder = Embedder(processor, cache, self.embeddings, skeleton, config.lora.answer_only)
        return with_features(rows), embedder

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Changes the model: only now has the trainer moved it to its device."""
        if self.changes is None:
            self.begin(args.device)

    def on_save(self, *_: Any, **__: Any) -> None:
        """Restores the model until the next step."""
        if self.restore_on_save:
            self.end()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Restores the model."""
        self.end()

    def begin(self, device: torch.device) -> None:
        """Changes the model."""
        plan, model, self.changes = self.plan, self.model, ExitStack()
        enter = self.changes.enter_context
        if plan.own_loss:
            enter(answer_loss(model))
        if plan.cache_features:
            enter(offload.vision_tower(model, device))
        if plan.offload_embeddings:
            enter(offload.embeddings(model, self.embeddings))
        if plan.offload_lm_head:
            enter(offload.lm_head(model, device))
        if plan.fast_layers:  # undone first: graphs must free their memory before weights return
            layers = model.model.language_model.layers
            enter(fused_layers(layers, plan.layers_kept, plan.cuda_graphs))
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def end(self) -> None:
        """Restores the model."""
        if self.changes is not None:
            self.changes.close()
            self.changes = None
