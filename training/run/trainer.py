"""TRL's trainer, whose checkpoints explain themselves and appear whole or not at all."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model_state_dict
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import TrainOutput, rotate_checkpoints
from trl import SFTTrainer

from nutrition_vl.models.checkpoints import (
    ADAPTER_CONFIG,
    Card,
    best_checkpoint,
    read_card,
    write_card,
)
from training.run.folder import PARTIAL
from training.run.model_card import write_model_card
from training.run.optimizer import parameter_groups
from training.run.pissa import to_plain_lora
from training.settings.recipes import CHANGE_THE_BASE

# cuDNN's backward gives NaN on Hopper GPUs for some lengths (pytorch#196678, torch 2.11 and later).
NOT_CUDNN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Trainer(SFTTrainer):
    """SFTTrainer with a card in every checkpoint; it stops at the first loss that is not finite."""

    def __init__(
        self, model: PreTrainedModel, *args: Any, card: Card, lengths: list[int], **kwargs: Any
    ) -> None:
        """TRL's arguments, the card of every checkpoint, and the tokens of each training row."""
        self.card, self.lengths = card, lengths
        # TRL and transformers would have the embeddings of words and patches require gradients,
        # which only re-entrant checkpointing needs: frozen layers would join the backward pass.
        model.enable_input_require_grads = lambda: None
        super().__init__(model, *args, **kwargs)
        _keep_float32(self.model)
        self.first: dict[str, Tensor] = {}
        if self.args.init_lora_weights in CHANGE_THE_BASE:
            weights = get_peft_model_state_dict(self.model).items()
            self.first = {name: weight.detach().cpu().clone() for name, weight in weights}

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """TRL's training with any attention kernel but cuDNN's."""
        with sdpa_kernel(NOT_CUDNN):
            return super().train(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """TRL's optimizer, with one learning rate per part where the settings ask for it."""
        if self.args.own_rates:
            decayed = set(self.get_decay_parameter_names(self.model))
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups = parameter_groups(self.model, self.args, decayed)
            self.optimizer: Optimizer = kind(groups, **options)
            return self.optimizer
        return super().create_optimizer(model)

    def _init_training_state(self, max_steps: int, *args: Any) -> tuple[int, int]:
        """Has the settings say how often to log and save, not the state of a resumed checkpoint."""
        done = super()._init_training_state(max_steps, *args)
        self.state.compute_steps(self.args, max_steps)
        return done

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Restores both; settings that --override changed replace the restored ones."""
        groups = [dict(group, params=[]) for group in self.optimizer.param_groups]
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or not self.card.overridden:
            return
        scheduler, rates = self.lr_scheduler, [group["initial_lr"] for group in groups]
        scheduler.base_lrs = rates
        for group, new, rate, factor in zip(
            self.optimizer.param_groups, groups, rates, scheduler.lr_lambdas, strict=True
        ):
            group |= new | {"params": group["params"], "lr": rate * factor(scheduler.last_epoch)}
        scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]  # for the log

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restores the random state, unless --override changed the seed."""
        if checkpoint is None or read_card(Path(checkpoint)).seed == self.card.seed:
            super()._load_rng_state(checkpoint)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        """TRL's sampler with our lengths: TRL would open every photo to count its tokens."""
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(batch, lengths=self.lengths)

    def _get_output_dir(self, trial: Any) -> str:
        return os.path.join(super()._get_output_dir(trial), PARTIAL)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Writes the checkpoint under another name and renames it once it is whole."""
        run, name = Path(self.args.output_dir), f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            shutil.rmtree(run / PARTIAL, ignore_errors=True)  # of a run killed while it saved
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # each writer has its own
            raise OSError(
                f"{name} cannot be written to {run} ({error}): make room there, then go on from "
                "the last whole checkpoint with --resume_from_checkpoint True"
            ) from error
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            card = replace(self.card, step=self.state.global_step)
            _explain(run / PARTIAL / name, card)
            if self.first:
                to_plain_lora(run / PARTIAL / name, self.first)
            write_model_card(run / PARTIAL / name, card, run)
            shutil.rmtree(run / name, ignore_errors=True)
            (run / PARTIAL / name).rename(run / name)
            (run / PARTIAL).rmdir()
            best = best_checkpoint(run)  # never removed
            rotate_checkpoints(str(run), self.args.save_total_limit, best and str(run / best))
        self.accelerator.wait_for_everyone()

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Leaves the run's README to training/model_card.py."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """TRL's loss; FloatingPointError names the step and the photos where it is not finite."""
        photos = inputs.pop("photos")
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        value = loss[0] if isinstance(loss, tuple) else loss
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value.item()} in step {self.state.global_step + 1} for "
                f"{', '.join(photos)}: go on from the last checkpoint with a lower --learning_rate"
            )
        return loss


def _keep_float32(model: nn.Module) -> None:
    """Casts adapters back to float32: TRL makes them bfloat16, where 1e-4 on 0.03 is lost.

    They are small next to a 4-bit base, and autocast still runs them in bfloat16 on a GPU.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def _explain(folder: Path, card: Card) -> None:
    """Adds the card, and the base's name in place of where it lies on this machine."""
    write_card(folder, card)
    file = folder / ADAPTER_CONFIG
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": card.base_model, "revision": card.base_revision}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
