"""Chooses a run's plan: its engines, and the largest micro-batch that then fits."""

import shutil
from dataclasses import replace

from accelerate.utils import parse_flag_from_env

from nutrition_vl.models.family import FAMILIES, part_of
from nutrition_vl.models.names import NF4, NF4_SINGLE, NONE
from training.plan.forecast import forecast
from training.plan.plan import Plan, Workload
from training.plan.usage import GIB, free_memory
from training.settings.config import TrainConfig

MEMORY_SHARE = 0.9  # of the free memory: some is lost between PyTorch's blocks
LOW_MEMORY_GB = 4.6  # about what a card of 6 leaves to PyTorch
PLAIN_WEIGHTS = (NF4, NF4_SINGLE, NONE)  # the written layers read these weights themselves


def choose(config: TrainConfig, work: Workload) -> Plan:
    """Returns the fastest plan that fits into the memory, with `low_memory` the smallest one."""
    plain = Plan(config.per_device_train_batch_size, config.gradient_accumulation_steps)
    if config.plain:
        return _forecast(config, work, plain)
    no_cache, no_layers = _why_no_feature_cache(config, work), _why_no_fast_layers(config, work)
    reasons = {"visual features in every epoch": no_cache, "plain layers": no_layers}
    sharded = parse_flag_from_env("ACCELERATE_USE_FSDP")
    untied = not work.model.config.tie_word_embeddings
    plan = replace(
        plain,
        cache_features=not no_cache,
        fast_layers=not no_layers,
        # Graphs hold a step's memory, and the logits come on top of it.
        cuda_graphs=not (no_layers or config.low_memory) and config.runtime.device.type == "cuda",
        offload_embeddings=not sharded and (config.low_memory or (untied and not no_cache)),
        offload_lm_head=not sharded and config.low_memory,
        notes=tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason),
    )
    return _largest_that_fits(config, work, plan)


def smaller_setting(config: TrainConfig) -> str:
    """Returns the next setting that takes less memory, as words of the command line."""
    if config.per_device_train_batch_size > 1 and not config.regroup_batches:
        half = config.per_device_train_batch_size // 2
        more = config.gradient_accumulation_steps * 2
        return f"--per_device_train_batch_size {half} --gradient_accumulation_steps {more}"
    if not config.gradient_checkpointing:
        return "--gradient_checkpointing True"
    if config.quantization != "nf4":
        return "--quantization nf4"
    if not config.low_memory:
        return "--low_memory True"
    if config.max_image_tokens is None or config.max_image_tokens > 256:
        return "--max_image_tokens 256"
    return "a smaller base, or a GPU with more memory"


def _why_no_feature_cache(config: TrainConfig, work: Workload) -> str | None:
    """The reason that photos go through the vision tower in every epoch, if there is one."""
    width = work.model.config.text_config.hidden_size
    need = work.image_tokens * width * config.runtime.dtype.itemsize
    folder = config.features.absolute()
    disk = next(path for path in (folder, *folder.parents) if path.exists())
    room = shutil.disk_usage(disk).free
    reasons = {
        "--cache_features False": not config.cache_features,
        "the vision tower is trained": any(part_of(name) == "visual" for name in work.trained),
        "FSDP spreads the tower": parse_flag_from_env("ACCELERATE_USE_FSDP"),
        f"they take {need / GIB:.1f} GiB and {disk} has {room / GIB:.1f} left": need > room,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _why_no_fast_layers(config: TrainConfig, work: Workload) -> str | None:
    """The reason that autograd differentiates the decoder layers, if there is one."""
    family, bits = FAMILIES[work.model.config.model_type], config.quantization
    reasons = {
        "--lean_layers False": not config.lean_layers,
        f"{family.name} has none": not family.fast_layers,
        f"{config.attention} attention was asked for": config.attention != "sdpa",
        f"{bits} has a backward of its own": bits not in PLAIN_WEIGHTS,
        "biases are trained": config.lora_bias != "none",
        "DoRA has a forward pass of its own": config.use_dora,
        "FSDP spreads their weights": parse_flag_from_env("ACCELERATE_USE_FSDP"),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _largest_that_fits(config: TrainConfig, work: Workload, plan: Plan) -> Plan:
    """The plan with as many photos per micro-batch, then as many kept layers as fit.

    The smallest plan where nothing fits.
    """
    layers = work.model.config.text_config.num_hidden_layers
    batch = plan.micro_batch * plan.accumulation
    least = layers if plan.fast_layers and not config.gradient_checkpointing else 0
    limit = 1e9 * (config.memory_limit or (LOW_MEMORY_GB if config.low_memory else 0))
    limit = limit or MEMORY_SHARE * free_memory(config.runtime.device)
    # 1) photos
    counts = [count for count in range(batch, 0, -1) if batch % count == 0]
    for photos in counts if config.regroup_batches else [plan.micro_batch]:
        plan = replace(plan, micro_batch=photos, accumulation=batch // photos, layers_kept=least)
        plan = _forecast(config, work, plan)
        if plan.memory <= limit:
            break
    # 2) kept layers
    while plan.fast_layers and plan.layers_kept < layers:
        more = _forecast(config, work, replace(plan, layers_kept=plan.layers_kept + 1))
        if more.memory > limit:
            break
        plan = more
    return plan


def _forecast(config: TrainConfig, work: Workload, plan: Plan) -> Plan:
    return replace(plan, forecast=forecast(config, work, plan))
