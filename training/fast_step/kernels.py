"""The elementwise parts of a decoder layer and their gradients, each one kernel on a GPU."""

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
    """The gradient of RMSNorm's input."""
    wide, steep = states.float(), gradient.float() * weight.float()
    scale = (wide.pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()
    unit = wide * scale
    return (scale * (steep - unit * (steep * unit).mean(-1, keepdim=True))).to(states.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""
    return functional.silu(gate) * up


def swiglu_backward(gate: Tensor, up: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of SwiGLU's gate and of what passes it."""
    wide, share = gate.float(), gate.float().sigmoid()
    slope = share * (1 + wide * (1 - share))
    steep = gradient.float()
    return (steep * up.float() * slope).to(gate.dtype), (steep * wide * share).to(up.dtype)


def drop(states: Tensor, seed: Tensor, share: float) -> Tensor:
    """Dropout of a share of the states, scaled; which, a hash of place and seed below 2^32 decides.

    So one seed drops the same again, in a CUDA graph too, and no mask is kept. The hash is Wellons'
    lowbias32 (https://nullprogram.com/blog/2018/07/31/), in 64 bits: PyTorch shifts no unsigned 32.
    """
    word = 2**32 - 1
    mixed = torch.arange(states.numel(), device=states.device).view(states.shape) ^ seed
    mixed = ((mixed ^ (mixed >> 16)) * 0x7FEB352D) & word
    mixed = ((mixed ^ (mixed >> 15)) * 0x846CA68B) & word
    kept = (mixed ^ (mixed >> 16)) >= share * 2**32
    return states * kept / (1 - share)


@cache
def fused(function: Callable, device: str) -> Callable:
    """On a GPU the function as one kernel, where kernels can be compiled; else as it is."""
    return torch.compile(function, dynamic=True) if device == "cuda" and compiles() else function


@cache
def compiles() -> bool:
    """Whether this machine has what torch.compile needs: Triton, a C compiler, Python's headers."""
    try:
        torch.compile(torch.neg)(torch.ones(1, device="cuda"))
    except RuntimeError:  # the base of whatever Dynamo and Inductor raise
        return False
    return True
