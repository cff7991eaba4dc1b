"""The elementwise parts of a decoder layer and their gradients, each one kernel on a GPU.

Replaces autograd's chains of small kernels. Gain, flag, test and end: see stack.py.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional


def normalize(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm, rounded where Qwen2-VL rounds."""
    wide = states.float()
    scale = (wide.pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()
    return weight * (wide * scale).to(states.dtype)


def normalize_backward(states: Tensor, weight: Tensor, epsilon: float, gradient: Tensor) -> Tensor:
    """The gradient by RMSNorm's input."""
    wide, by_unit = states.float(), gradient.float() * weight.float()
    scale = (wide.pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()
    unit = wide * scale
    return (scale * (by_unit - unit * (by_unit * unit).mean(-1, keepdim=True))).to(states.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""
    return functional.silu(gate) * up


def swiglu_backward(gate: Tensor, up: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients by SwiGLU's gate and by the product's other factor."""
    wide, share, by_product = gate.float(), gate.float().sigmoid(), gradient.float()
    slope = share * (1 + wide * (1 - share))
    by_gate, by_up = by_product * up.float() * slope, by_product * wide * share
    return by_gate.to(gate.dtype), by_up.to(up.dtype)


def drop(states: Tensor, seed: Tensor, share: float) -> Tensor:
    """Scaled dropout of a share of the states, by a hash of each position and a seed below 2^32.

    One seed drops the same positions twice, in a CUDA graph too, and no mask is kept. The hash is
    Wellons' lowbias32 (https://nullprogram.com/blog/2018/07/31/), in 64 bits: PyTorch shifts no
    unsigned 32.
    """
    word = 2**32 - 1
    mixed = torch.arange(states.numel(), device=states.device).view(states.shape) ^ seed
    mixed = ((mixed ^ (mixed >> 16)) * 0x7FEB352D) & word
    mixed = ((mixed ^ (mixed >> 15)) * 0x846CA68B) & word
    kept = (mixed ^ (mixed >> 16)) >= share * 2**32
    return states * kept / (1 - share)


@cache
def fused(function: Callable, device: str) -> Callable:
    """Returns the function as one kernel on a GPU that can compile it, elsewhere as it is."""
    return torch.compile(function, dynamic=True) if device == "cuda" and compiles() else function


@cache
def compiles() -> bool:
    """True where torch.compile finds Triton, a C compiler and Python's headers."""
    try:
        torch.compile(torch.neg)(torch.ones(1, device="cuda"))
    except RuntimeError:  # the base of all that Dynamo and Inductor raise
        return False
    return True
