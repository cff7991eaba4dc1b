"""How much memory and disk a run will take, worked out before anything is loaded."""

import resource
import sys
from collections import Counter
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from training.plan.parameter_counts import part_of, quantizable
from training.settings.config import TrainConfig

GIB = 2**30
# Bytes of a weight: NF4 has half a byte and a scale for each 64 (8 bits, plus 32 for each 256 of
# them; 32 bits without double quantisation), LLM.int8 has one.
BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "nf4-single": 0.5 + 4 / 64, "int8": 1.0}
# PyTorch gives cuBLAS 32 MiB on Hopper GPUs, once for the forward and once for the backward pass.
CUBLAS = 2 * 2**25
# Tokens and words that TRL's loss takes at once (trl.kernels.chunked_logprob).
TILE = (4096, 32768)


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak of a training step: the base, what is trained on it, what the backward pass
    needs of the forward pass, and the workspace of one layer."""

    weights: float
    training: float
    activations: float
    workspace: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(vars(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in vars(self).items())
        return f"{self.total / GIB:.2f} GiB ({parts})"


@dataclass(frozen=True)
class Extent:
    """The longest row: tokens in the language model, patches of its photo, tokens in the loss."""

    tokens: int
    patches: int
    labels: int


@dataclass(frozen=True)
class _Stack:
    """Equal layers in a row that the backward pass goes through, in numbers for each token."""

    layers: int
    width: int  # of what goes in: with checkpointing all that is kept of a layer
    kept: float  # of a layer without checkpointing
    gradients: float  # of a layer, on the way back
    tokens: int


def foresee(
    config: TrainConfig, model: nn.Module, trained: Counter[str], longest: Extent
) -> Forecast:
    """The forecast for a skeleton, the parameters trained in each module and the longest row."""
    number = torch.finfo(config.runtime.dtype).bits // 8
    packed = quantizable(model)
    linear, every = sum(packed.values()), sum(weight.numel() for weight in model.parameters())
    weights = linear * BYTES.get(config.quantization, number) + (every - linear) * number
    # A weight and its gradient in float32, and two averages of Adam in 8 or 32 bits.
    training = trained.total() * (8 + (2 if "8bit" in str(config.optim) else 8))
    # A layer's weights in full while it is multiplied with.
    workspace = max(packed.values()) * number if config.quantization in BYTES else 0
    workspace += CUBLAS if config.runtime.device.type == "cuda" else 0
    activations = number * _activations(config, _stacks(config, model, trained, longest), longest)
    activations += 4 * _pixels(config, model, longest)  # they come in float32
    return Forecast(weights, training, activations, workspace)


def _activations(config: TrainConfig, stacks: list[_Stack], longest: Extent) -> float:
    """Numbers at the worst moment: what all layers keep, and one layer on its way back or the loss.

    The loss takes TRL's tile of logits.
    """
    loss = min(config.per_device_train_batch_size * longest.labels, TILE[0]) * TILE[1]
    if config.gradient_checkpointing:
        inputs = sum(stack.tokens * stack.layers * stack.width for stack in stacks)
        layers = [stack.tokens * (stack.kept + stack.gradients) for stack in stacks]
        return inputs + max(*layers, loss)
    kept = sum(stack.tokens * stack.layers * stack.kept for stack in stacks)
    return kept + max(*(stack.tokens * stack.gradients for stack in stacks), loss)


def _pixels(config: TrainConfig, model: nn.Module, longest: Extent) -> int:
    """Numbers of the photos, which stay for the whole step."""
    vision = model.config.vision_config
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return config.per_device_train_batch_size * longest.patches * patch


def _stacks(
    config: TrainConfig, model: nn.Module, trained: Counter[str], longest: Extent
) -> list[_Stack]:
    """The language model, and the vision tower where it is trained: else it keeps nothing.

    A layer keeps the inputs of its two norms in float32 (two numbers of bfloat16 each), query, key,
    value and output of attention, three vectors of its MLP and what its adapters read. In the tower
    query and key are copies beside their joint projection, and the MLP keeps two vectors. Eager
    attention keeps its scores too.
    """
    photos, scores = config.per_device_train_batch_size, 4 * (config.attention == "eager")
    read = _adapter_inputs(config, model, trained)
    text, vision = model.config.text_config, model.config.vision_config
    layers, width, wide = text.num_hidden_layers, text.hidden_size, 3 * text.intermediate_size
    heads = text.num_attention_heads
    # With photos padded to one length attention has a mask, and repeats shared keys and values.
    shared = text.num_key_value_heads if photos == 1 else heads
    kept = 6 * width + 2 * width * shared / heads + wide + read["language_model"] / layers
    kept += scores * heads * longest.tokens
    stacks = [_Stack(layers, width, kept, 2 * width + wide, photos * longest.tokens)]
    if read["visual"]:
        layers, width = vision.depth, vision.embed_dim
        wide = 2 * vision.mlp_ratio * width
        kept = 10 * width + wide + read["visual"] / layers
        kept += scores * vision.num_heads * longest.patches
        stacks.append(_Stack(layers, width, kept, 2 * width + wide, photos * longest.patches))
    return stacks


def _adapter_inputs(config: TrainConfig, model: nn.Module, trained: Counter[str]) -> Counter[str]:
    """Numbers that the adapters of each part keep for a token: their inputs.

    Dropout leaves a copy of them and a byte for each that says whether it was left out.
    """
    inputs: Counter[str] = Counter()
    for name in trained:
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Linear):
            inputs[part_of(name)] += layer.in_features * (3 if config.lora_dropout else 2)
    return Counter({part: count / 2 for part, count in inputs.items()})


def peak_memory(device: torch.device) -> int:
    """Bytes taken at most so far: PyTorch's on a GPU, the whole process's on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak(device: torch.device) -> None:
    """Counts a GPU's peak from now on; a process's on the CPU cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory_now(device: torch.device) -> dict[str, int]:
    """Bytes taken now, and with what PyTorch holds in reserve; on the CPU the process's."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device)
        return {"allocated_gib": torch.cuda.memory_allocated(device), "reserved_gib": reserved}
    resident = psutil.Process().memory_info().rss
    return {"allocated_gib": resident, "reserved_gib": resident}


def compared(forecast: Forecast, device: torch.device) -> str:
    """The peak so far, on a GPU beside the forecast: the CPU's counts Python as well."""
    told = f"peak {peak_memory(device) / GIB:.2f} GiB"
    return f"{told}, forecast {forecast.total / GIB:.2f}" if device.type == "cuda" else told


def free_memory(device: torch.device) -> int:
    """Bytes that are free now on a GPU, or available in the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def disk_need(config: TrainConfig, forecast: Forecast, photos: int) -> float:
    """Bytes of all checkpoints: adapter and optimiser each, and 20 MB of tokenizer and notes."""
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    steps = config.max_steps if config.max_steps > 0 else photos / batch * config.num_train_epochs
    every = config.save_steps if config.save_strategy == "steps" else photos / batch
    saved = max(1.0, steps / max(1.0, every))
    return min(saved, config.save_total_limit or saved) * (forecast.training + 20e6)


def step_down(config: TrainConfig) -> str:
    """The next setting that takes less memory."""
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
