"""What a run can save, and the largest micro-batch of photos that then fits into the memory."""

import shutil
from collections import Counter
from copy import copy
from dataclasses import dataclass, replace

from accelerate.utils import parse_flag_from_env
from transformers import Qwen2VLForConditionalGeneration

from training.fast_step.answer_loss import POSITIONS, ROWS
from training.plan.forecast import CUBLAS, GIB, Extent, Forecast, foresee, free_memory
from training.plan.parameter_counts import part_of, quantizable
from training.settings.config import TrainConfig

SHARE = 0.9  # of the free memory: some is lost between PyTorch's blocks
SMALL = 4.6  # GB, about what a card of 6 leaves to PyTorch


@dataclass(frozen=True)
class Sizes:
    """What a run is made of: a skeleton, the parameters trained in each module, its longest row,
    and how many visual tokens all photos have together."""

    model: Qwen2VLForConditionalGeneration
    trained: Counter[str]
    longest: Extent
    shown: int


@dataclass(frozen=True)
class Plan:
    """How a run saves time and memory, and in `notes` why something does not apply to it.

    Photos are seen once (`cached`); layers have their backward written out (`lean`), are replayed
    as CUDA `graphs`, and `kept` of them keep what it needs; the embeddings of words or the output
    matrix lie on the CPU.
    """

    photos: int  # in a micro-batch
    accumulation: int
    cached: bool = False
    lean: bool = False
    graphs: bool = False
    kept: int = 0
    words_away: bool = False
    head_away: bool = False
    notes: tuple[str, ...] = ()

    def arguments(self, config: TrainConfig) -> TrainConfig:
        """The settings with this plan's batch sizes, as the trainer takes them."""
        arguments = copy(config)
        arguments.per_device_train_batch_size = self.photos
        arguments.gradient_accumulation_steps = self.accumulation
        return arguments

    def __str__(self) -> str:
        done = {
            "visual features computed once": self.cached,
            f"{self.kept} lean layers that keep their trace": self.lean,
            "replayed as CUDA graphs": self.graphs,
            "embeddings on the CPU": self.words_away,
            "output matrix on the CPU": self.head_away,
        }
        step = f"{self.accumulation} x {self.photos} photos a step"
        return ", ".join([step, *(name for name, on in done.items() if on)])


def choose(config: TrainConfig, sizes: Sizes) -> Plan:
    """The fastest plan that fits into the memory; with `low_memory` the one that takes least."""
    if config.plain:
        return Plan(config.per_device_train_batch_size, config.gradient_accumulation_steps)
    fixed = {"visual features in every epoch": _unseen(config, sizes), "plain layers": _fat(config)}
    unseen, fat = fixed.values()
    split = parse_flag_from_env("ACCELERATE_USE_FSDP")
    tied = sizes.model.config.tie_word_embeddings
    plan = Plan(
        config.per_device_train_batch_size,
        config.gradient_accumulation_steps,
        cached=not unseen,
        lean=not fat,
        # They hold what a step takes while the logits come on top of it.
        graphs=not fat and config.runtime.device.type == "cuda" and not config.low_memory,
        words_away=not split and (config.low_memory or not (unseen or tied)),
        head_away=config.low_memory and not split,
        notes=tuple(f"{name}: {reason}" for name, reason in fixed.items() if reason),
    )
    return _filled(config, sizes, plan)


def _unseen(config: TrainConfig, sizes: Sizes) -> str | None:
    """Why the visual features cannot be computed once."""
    need = sizes.shown * sizes.model.config.text_config.hidden_size * _number(config)
    folder = config.features.absolute()
    above = next(path for path in (folder, *folder.parents) if path.exists())
    room = shutil.disk_usage(above).free
    reasons = {
        "as asked": not config.cache_features,
        "the vision tower is trained": any(part_of(name) == "visual" for name in sizes.trained),
        "FSDP spreads the tower": parse_flag_from_env("ACCELERATE_USE_FSDP"),
        f"they take {need / GIB:.1f} GiB and {above} has {room / GIB:.1f} left": need > room,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _fat(config: TrainConfig) -> str | None:
    """Why the layers cannot have their backward written out."""
    reasons = {
        "as asked": not config.lean_layers,
        f"{config.attention} attention was asked for": config.attention != "sdpa",
        "int8 has a backward of its own": config.quantization == "int8",
        "biases are trained": config.lora_bias != "none",
        "FSDP spreads their weights": parse_flag_from_env("ACCELERATE_USE_FSDP"),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _filled(config: TrainConfig, sizes: Sizes, plan: Plan) -> Plan:
    """The plan with the most photos in a micro-batch and then the most kept layers that fit."""
    layers = sizes.model.config.text_config.num_hidden_layers
    batch, least = plan.photos * plan.accumulation, 0
    if plan.lean and not config.gradient_checkpointing:
        least = layers
    asked = config.memory_limit or (SMALL if config.low_memory else None)
    limit = asked * 1e9 if asked else SHARE * free_memory(config.runtime.device)
    counts = [count for count in range(batch, 0, -1) if batch % count == 0]
    for photos in counts if config.regroup_batches else [plan.photos]:
        plan = replace(plan, photos=photos, accumulation=batch // photos, kept=least)
        if expect(config, sizes, plan).total <= limit:
            break
    while plan.lean and plan.kept < layers:
        more = replace(plan, kept=plan.kept + 1)
        if expect(config, sizes, more).total > limit:
            break
        plan = more
    return plan


def expect(config: TrainConfig, sizes: Sizes, plan: Plan) -> Forecast:
    """The forecast of a plan, to be held against the peak that is measured."""
    asked = copy(config)
    asked.per_device_train_batch_size = plan.photos
    plain = foresee(asked, sizes.model, sizes.trained, sizes.longest)
    weights = plain.weights - _away(config, sizes, plan)
    if not plan.lean:
        return replace(plain, weights=weights)
    text, number = sizes.model.config.text_config, _number(config)
    width, wide = text.hidden_size, text.intermediate_size
    shared = 2 * width * text.num_key_value_heads / text.num_attention_heads
    trace = 3 * width + shared + 2 * wide
    inputs = text.num_hidden_layers * width
    tokens = plan.photos * sizes.longest.tokens
    kept = tokens * (inputs + max(1, plan.kept) * trace) * number
    return Forecast(weights, plain.training, kept, _workspace(config, sizes, plan))


def _workspace(config: TrainConfig, sizes: Sizes, plan: Plan) -> float:
    """The larger of what one layer's backward takes on its way and what the logits take, or both
    with graphs, which let go of nothing."""
    text, number = sizes.model.config.text_config, _number(config)
    tokens = plan.photos * sizes.longest.tokens
    layer = tokens * (3 * text.intermediate_size + 4 * text.hidden_size) * number
    layer += max(quantizable(sizes.model).values()) * number
    said = min(POSITIONS, plan.photos * sizes.longest.labels)
    logits = said * text.vocab_size * (number + 12)
    logits += ROWS * text.hidden_size * number if plan.head_away else 0
    if not plan.graphs:
        return max(layer, logits) + CUBLAS * (config.runtime.device.type == "cuda")
    # Graphs have their own: what goes in and comes out on the way there and back, and cuBLAS's.
    return layer + logits + 4 * tokens * text.hidden_size * number + 2 * CUBLAS


def _away(config: TrainConfig, sizes: Sizes, plan: Plan) -> float:
    """Bytes of the weights that are not on the GPU; one matrix where input and output share it."""
    model = sizes.model
    words = model.get_input_embeddings().weight.numel()
    tied = model.config.tie_word_embeddings
    tower = sum(weight.numel() for weight in model.model.visual.parameters())
    count = tower * plan.cached + words * plan.words_away + words * (plan.head_away and not tied)
    return count * _number(config)


def _number(config: TrainConfig) -> int:
    return config.runtime.dtype.itemsize
