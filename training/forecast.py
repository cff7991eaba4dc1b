"""How much memory and disk a run will take, worked out before anything is loaded."""

from dataclasses import dataclass

import psutil
import torch
from torch import nn

from training.architectures import quantizable
from training.config import TrainConfig

# Bytes of a weight: NF4 has half a byte and a scale for each 64 (8 bits, plus 32 for each 256 of
# them; 32 bits without double quantisation), LLM.int8 has one.
BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "nf4-single": 0.5 + 4 / 64, "int8": 1.0}


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak of a training step: base weights, what trains on them, activations."""

    weights: float
    training: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.training + self.activations


def foresee(config: TrainConfig, model: nn.Module, trained: int, longest: int) -> Forecast:
    """The forecast for a skeleton, the number of trained parameters and the longest sequence."""
    size = torch.finfo(config.runtime.dtype).bits // 8
    packed = quantizable(model)
    linear, every = sum(packed.values()), sum(weight.numel() for weight in model.parameters())
    weights = linear * BYTES.get(config.quantization, size) + (every - linear) * size
    # A weight and its gradient in float32, and two averages of Adam in 8 or 32 bits.
    training = trained * (8 + (2 if "8bit" in str(config.optim) else 8))
    # One layer's weights in full, forward and again backward.
    workspace = 2 * max(packed.values()) * size if config.quantization in BYTES else 0
    tokens = longest * config.per_device_train_batch_size
    return Forecast(weights, training, workspace + _activations(config, model, tokens) * size)


def _activations(config: TrainConfig, model: nn.Module, tokens: int) -> float:
    """Numbers kept for the backward pass.

    A layer keeps about 12 vectors of its width and 4 of its MLP's for each token; checkpointing
    keeps one of its width and has the rest for one layer at a time, with gradients beside.
    """
    text = model.config.text_config
    layer = 12 * text.hidden_size + 4 * text.intermediate_size
    if config.gradient_checkpointing:
        return tokens * (text.num_hidden_layers * text.hidden_size + 2 * layer)
    return tokens * text.num_hidden_layers * layer


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
    if config.per_device_train_batch_size > 1:
        half = config.per_device_train_batch_size // 2
        more = config.gradient_accumulation_steps * 2
        return f"--per_device_train_batch_size {half} --gradient_accumulation_steps {more}"
    if not config.gradient_checkpointing:
        return "--gradient_checkpointing True"
    if config.quantization != "nf4":
        return "--quantization nf4"
    if config.max_image_tokens is None or config.max_image_tokens > 256:
        return "--max_image_tokens 256"
    return "a smaller base, or a GPU with more memory"
