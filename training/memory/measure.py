"""Runs a technique's training steps on the machine at hand and measures them."""

import gc
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Event, Thread
from typing import Any

import psutil
import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model
from torch.nn.attention import sdpa_kernel
from transformers import (
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    TrainerCallback,
    set_seed,
)
from transformers import Trainer as PlainTrainer
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from training.examples.examples import length, patches, said, to_examples
from training.memory.techniques import Technique
from training.plan.apply import ApplyPlan
from training.plan.choose import choose
from training.plan.forecast import forecast
from training.plan.parameter_counts import trainable
from training.plan.plan import Plan, Workload
from training.plan.usage import peak_memory
from training.run.folder import describe
from training.run.model import adapters
from training.run.trainer import NOT_CUDNN, Trainer
from training.settings.config import TrainConfig

# Steps that are not timed: kernels are compiled and buffers made in the first, graphs of the layers
# captured in the second and first replayed in the third.
WARM = 3


@dataclass
class Row:
    """A technique measured. Bytes; seconds are the median step's; `forecast` is by part.

    `before` is the peak until the first step: the base loaded, and photos seen if once is enough.
    """

    key: str
    name: str
    settings: str
    plan: str = ""
    trained: int = 0
    before: int = 0
    start: int = 0
    peak: int = 0
    reserved: int = 0
    seconds: float = 0.0
    photos_per_second: float = 0.0
    photos: int = 0
    tokens: int = 0
    losses: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    forecast: dict[str, float] = field(default_factory=dict)
    problem: str = ""


class Watch(TrainerCallback):
    """Notes when each step ends and what memory it took: PyTorch's on a GPU, else the process's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ends: list[float] = []
        self.losses: list[float] = []
        self.before = self.start = self.peak = self.reserved = 0
        self._watching, self._stop = False, Event()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Begins to watch, with the first step."""
        if self._watching:
            return
        self._watching, self.before = True, peak_memory(self.device)
        reset_peak(self.device)
        if self.device.type != "cuda":
            Thread(target=self._sample, daemon=True).start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Notes the time, the peak, and what lies in memory between two steps."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.start = torch.cuda.memory_allocated(self.device)
            self.peak = torch.cuda.max_memory_allocated(self.device)
            self.reserved = torch.cuda.max_memory_reserved(self.device)
        else:
            self.start = self.start or psutil.Process().memory_info().rss
        self.ends.append(time.perf_counter())

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        """Notes the loss."""
        if logs and "loss" in logs:
            self.losses.append(round(float(logs["loss"]), 4))

    def stop(self) -> None:
        """Watches no longer."""
        self._stop.set()

    def _sample(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.005):
            self.peak = self.reserved = max(self.peak, process.memory_info().rss)


@dataclass
class Bench:
    """What all rows have in common."""

    rows: Dataset
    processor: Qwen2VLProcessor
    skeleton: Qwen2VLForConditionalGeneration

    def sizes(self, config: TrainConfig) -> Workload:
        """What the plan of a row is made for."""
        facts = self.rows.remove_columns("image").select(range(1))
        seen = patches(facts[0], self.processor)
        shown = seen // self.processor.image_processor.merge_size**2 * len(self.rows)
        trained: Counter[str] = trainable(self.skeleton, config.lora, config.lora_bias)
        answer = len(self.processor.tokenizer(said(facts[0]))["input_ids"]) + 2  # its end
        tokens = length(facts[0], self.processor)
        return Workload(self.skeleton, trained, tokens, seen, answer, shown)

    def foresee(self, technique: Technique, config: TrainConfig) -> tuple[Row, Plan]:
        """A technique's row without what only a run can tell, and the plan of that run."""
        sizes = self.sizes(config)
        plan = Plan(config.per_device_train_batch_size, config.gradient_accumulation_steps)
        if technique.trainer == "ours":
            plan = choose(config, sizes)
        row = Row(technique.key, technique.name, technique.words, str(plan))
        row.trained, row.tokens = sizes.trained.total(), sizes.tokens
        row.photos = plan.micro_batch * plan.accumulation
        row.forecast = forecast(config, sizes, plan)
        return row, plan

    def measure(
        self, technique: Technique, config: TrainConfig, model: Qwen2VLForConditionalGeneration
    ) -> Row:
        """Trains for config.max_steps and returns what it took; a failure is a row that says so."""
        row, plan = self.foresee(technique, config)
        reset_peak(config.runtime.device)
        watch = Watch(config.runtime.device)
        try:
            self._train(technique, config, model, plan, watch)
        except (torch.OutOfMemoryError, RuntimeError, ValueError, ImportError) as error:
            row.problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        watch.stop()
        row.before, row.start = watch.before, watch.start
        row.peak, row.reserved = watch.peak, watch.reserved
        row.losses, ends = watch.losses, watch.ends[WARM - 1 :]
        row.steps = [round(b - a, 4) for a, b in pairwise(ends)]
        if row.steps:
            row.seconds = statistics.median(row.steps)
            row.photos_per_second = row.photos / row.seconds
        return row

    def _train(
        self,
        technique: Technique,
        config: TrainConfig,
        model: Qwen2VLForConditionalGeneration,
        plan: Plan,
        watch: Watch,
    ) -> None:
        model.set_attn_implementation(config.attention)
        trainer = None
        try:
            trainer = self._trainer(technique, config, model, plan)
            trainer.add_callback(watch)
            with sdpa_kernel(NOT_CUDNN):
                trainer.train()
        finally:
            self._clean(trainer, model)

    def _trainer(
        self,
        technique: Technique,
        config: TrainConfig,
        model: Qwen2VLForConditionalGeneration,
        plan: Plan,
    ) -> PlainTrainer:
        if technique.trainer == "ours":
            engines = ApplyPlan(plan, model, restore_on_save=False)
            examples, collator = engines.dataset_and_collator(
                config, self.rows, self.processor, self.skeleton
            )
            return Trainer(
                model,
                plan.arguments(config),
                collator,
                examples,
                processing_class=self.processor,
                peft_config=adapters(config),
                callbacks=[engines],
                card=describe(config, self.rows, self.processor),
                lengths=[],
            )
        given = {"args": config, "train_dataset": to_examples(self.rows, self.processor)}
        if technique.trainer == "trl":
            return SFTTrainer(
                model, processing_class=self.processor, peft_config=adapters(config), **given
            )
        set_seed(config.seed)
        collator = DataCollatorForVisionLanguageModeling(self.processor, completion_only_loss=True)
        return PlainTrainer(
            get_peft_model(model, adapters(config)), data_collator=collator, **given
        )

    def _clean(self, trainer: PlainTrainer | None, model: Qwen2VLForConditionalGeneration) -> None:
        """The base as it was before."""
        if trainer is not None:
            for callback in trainer.callback_handler.callbacks:
                if isinstance(callback, ApplyPlan):
                    callback.end()
            if isinstance(trainer.model, PeftModel):
                trainer.model.unload()
            trainer.model = trainer.optimizer = None
        for changed in ("forward", "enable_input_require_grads"):
            vars(model).pop(changed, None)
        model.disable_input_require_grads()
        model.gradient_checkpointing_disable()
        release()


def reset_peak(device: torch.device) -> None:
    """Counts a GPU's peak from now on; a process's on the CPU cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def release() -> None:
    """Frees what nothing uses any longer, models held by their own cycles too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
