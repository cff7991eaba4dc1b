"""Trains adapters: the base in 4 bit, LoRA on it, one run folder of checkpoints out of it."""

from contextlib import closing
from pathlib import Path

from accelerate.utils import parse_flag_from_env
from datasets import Dataset
from peft import LoraConfig
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    PreTrainedModel,
    ProgressCallback,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    TrainerCallback,
)

from nutrition_vl.data import load_split
from nutrition_vl.data.rows import Skipped
from nutrition_vl.models.load import load_base
from nutrition_vl.models.random_weights import is_random, random_base, skeleton
from nutrition_vl.models.runtime import grow_blocks
from training.examples.examples import to_example
from training.plan.apply import Economy
from training.plan.forecast import compared
from training.plan.plan import Plan
from training.run import folder as runs
from training.run.callbacks import Bar, Goodbye, Log
from training.run.model_card import ModelCards
from training.run.preflight import Preflight
from training.run.trainer import Trainer
from training.run.validation import Validation
from training.settings.config import TrainConfig
from training.settings.recipes import lora_config

# cuDNN's backward gives NaN on Hopper GPUs for some lengths (pytorch#196678, torch 2.11 and later).
NOT_CUDNN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def train(config: TrainConfig) -> Path:
    """Checks everything, trains, and returns the run folder with its checkpoints.

    ValueError or FileNotFoundError, in one sentence, for what a person has to put right.
    """
    config.say(config.fallback)
    run = Path(str(config.output_dir))
    resumed = runs.prepare(config)
    processor = runs.load_fitting_processor(config)
    source = runs.base_source(config.model_name_or_path)
    bones = skeleton(config.model_name_or_path, source, config.model_revision)
    skipped: list[Skipped] = []
    rows = load_split(config.data_path, "train", config.limit, skipped, config.corrected)
    checks = Preflight(config, rows, processor, bones, skipped)
    rows = checks.run()
    card = runs.describe(config, rows, processor)
    runs.check_resumed(resumed, card, adapters(config))
    validation = _validation(config, rows, processor)
    if config.preflight_only:
        return run
    callbacks = [Log(run), goodbye := Goodbye(), *validation, ModelCards(card)]
    model = load(config, source, bones.config)
    trainer = assemble(config, checks.plan, model, bones, rows, processor, callbacks)
    trainer.card, trainer.lengths = card, checks.lengths
    bar = Bar()
    if trainer.pop_callback(ProgressCallback):  # not there with --disable_tqdm True
        trainer.add_callback(bar)
    with sdpa_kernel(NOT_CUDNN), closing(bar):
        trainer.train(resume_from_checkpoint=resumed)
    if goodbye.stopped:
        step = f"step {trainer.state.global_step} of {trainer.state.max_steps}"
        config.say(f"stopped at {step}: go on with --resume_from_checkpoint True")
    else:
        config.say(f"trained: {run}, {compared(checks.forecast, config.runtime.device)}")
    return run


def assemble(
    config: TrainConfig,
    plan: Plan,
    model: PreTrainedModel,
    skeleton: Qwen2VLForConditionalGeneration,
    rows: Dataset,
    processor: Qwen2VLProcessor,
    callbacks: list[TrainerCallback],
) -> Trainer:
    """The trainer of a plan; photos are seen now where once is enough."""
    economy = Economy(plan, model, steps_aside=bool(config.validation_photos))
    examples, collator = economy.feed(config, rows, processor, skeleton)
    config.per_device_train_batch_size = plan.photos
    config.gradient_accumulation_steps = plan.accumulation
    trainer = Trainer(
        model=_spare_frozen(model),
        args=config,
        train_dataset=examples,
        data_collator=collator,
        processing_class=processor,
        peft_config=adapters(config),
        callbacks=[economy, *callbacks],
    )
    _keep_precise(trainer.model)
    return trainer


def adapters(config: TrainConfig) -> LoraConfig:
    """PEFT's configuration of the adapters that the settings ask for."""
    return lora_config(config.lora, config.lora_dropout, config.lora_bias)


def _spare_frozen(base: PreTrainedModel) -> PreTrainedModel:
    """Keeps the layers before the first adapter, as of a frozen tower, out of the backward pass.

    TRL and the trainer would have the embeddings of words and patches ask for gradients, which only
    re-entrant checkpointing needs.
    """
    base.enable_input_require_grads = lambda: None
    return base


def load(config: TrainConfig, source: str | Path, shape: Qwen2VLConfig) -> PreTrainedModel:
    """The base that the settings ask for; with low memory part of it never reaches the GPU."""
    if config.runtime.device.type == "cuda":
        grow_blocks()
    spare = config.low_memory and not config.validation_photos  # which needs a base that can answer
    if is_random(config.model_name_or_path):
        return random_base(shape, config.runtime, config.quantization, spare)
    return load_base(source, config.runtime, config.model_revision, config.quantization, spare)


def _validation(
    config: TrainConfig, rows: Dataset, processor: Qwen2VLProcessor
) -> list[TrainerCallback]:
    """Validation, if it was asked for, on photos that are not trained on."""
    if not config.validation_photos:
        return []
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise ValueError(
            "boxes cannot be generated from a base that is spread over several cards: leave out "
            "--validation_photos and compare the checkpoints with python -m eval"
        )
    source = config.validation_path or config.data_path
    corrected = None if config.validation_path else config.corrected  # which are of data_path
    held_out = load_split(source, "val", config.validation_photos, corrections=corrected)
    if config.validation_path is None and set(held_out["id"]) & set(rows["id"]):
        raise ValueError(f"{source} has no split of its own for validation: name --validation_path")
    if not any(held_out["xyxy"]):
        raise ValueError(f"the {len(held_out)} validation photos of {source} show no box")
    for row in held_out:  # one that cannot be read is said now and not at the first save
        to_example(row, processor)
    return [Validation(config, held_out, processor)]


def _keep_precise(model: nn.Module) -> None:
    """Adapters in float32: TRL makes them bfloat16, where steps of 1e-4 on 0.03 are lost.

    Beside a 4-bit base they weigh nothing, and autocast still runs them in bfloat16 on a GPU.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
