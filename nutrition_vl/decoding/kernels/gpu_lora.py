"""LoRA layers on a GPU for inference: the adapter's part in two kernels per layer.

Replaces PEFT's forward, whose eight kernels per layer take a tenth of a decoding step of a 7B and
which copies a prompt's states to float32 and back. Off with `--decoder generate`; equal by
test_gpu_lora.py. Can go when PEFT computes in the base's dtype without copies.
"""

from collections.abc import Callable
from functools import partial

import torch
import triton
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from triton import language as tl

FEW = 64  # rows, as in a decoding step; more are multiplied by PyTorch
WIDE = 1024  # numbers per program


@triton.jit
def _narrow(states, down, inner, scale, width, rank, WIDE: tl.constexpr):
    """One number of `inner` (rows, rank): a row of states times a row of `down`, scaled."""
    row, line = tl.program_id(0), tl.program_id(1)
    sums = tl.zeros((WIDE,), tl.float32)
    for start in range(0, width, WIDE):
        place = start + tl.arange(0, WIDE)
        weights = tl.load(down + line * width + place, mask=place < width, other=0.0)
        values = tl.load(states + row * width + place, mask=place < width, other=0.0)
        sums += values.to(tl.float32) * weights.to(tl.float32)
    tl.store(inner + row * rank + line, tl.sum(sums, 0) * scale)


@triton.jit
def _widen(inner, up, output, width, rank, WIDE: tl.constexpr, RANK: tl.constexpr):
    """Adds a row of `inner` (rows, rank) times `up` (width, rank) to a row of `output`."""
    row, number = tl.program_id(0), tl.arange(0, RANK)
    place = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    factor = tl.load(inner + row * rank + number, mask=number < rank, other=0.0)
    inside = (place < width)[:, None] & (number < rank)[None]
    weights = tl.load(up + place[:, None] * rank + number[None], mask=inside, other=0.0)
    target = output + row * width + place
    total = tl.load(target, mask=place < width).to(tl.float32)
    total += tl.sum(weights.to(tl.float32) * factor[None], 1)
    tl.store(target, total, mask=place < width)


def lora_layers(model: nn.Module) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """The LoRA layers of a model and what computes them."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return {layer: partial(_adapted, layer) for layer in layers}


def add_adapter(result: Tensor, states: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """Adds scale * states @ down.T @ up.T to the result (..., out), in place.

    `states` are (..., in), `down` is (rank, in), `up` (out, rank), all of any floating dtype.
    """
    rows, (width, rank) = states.numel() // states.shape[-1], up.shape
    states, target = states.reshape(rows, -1), result.view(rows, width)
    if rows > FEW:
        down, up = down.to(states.dtype), up.to(states.dtype)
        target.addmm_(states @ down.T, up.T, alpha=scale)
        return result
    inner = torch.empty((rows, rank), dtype=torch.float32, device=states.device)
    size = triton.next_power_of_2(rank)
    _narrow[(rows, rank)](states, down, inner, scale, states.shape[1], rank, WIDE=WIDE)
    lines = max(16, 2 * WIDE // size)
    _widen[(rows, triton.cdiv(width, lines))](inner, up, target, width, rank, WIDE=lines, RANK=size)
    return result


def _adapted(layer: LoraLayer, states: Tensor) -> Tensor:
    """The layer's output; by PEFT itself where it is no plain LoRA of one active adapter."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or not names:
        return type(layer).forward(layer, states)
    down, up = layer.lora_A[names[0]], layer.lora_B[names[0]]
    plain = type(down) is type(up) is nn.Linear and up.bias is None
    if len(names) > 1 or names[0] in layer.lora_variant or not plain:
        return type(layer).forward(layer, states)
    result = layer.base_layer(states)
    return add_adapter(result, states, down.weight, up.weight, layer.scaling[names[0]])
