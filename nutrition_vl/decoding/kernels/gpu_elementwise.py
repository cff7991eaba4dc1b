"""The elementwise parts of a forward pass, each one Triton kernel on a GPU.

Replaces chains of PyTorch's kernels: rotary positions in the vision tower alone took 62 of 450 ms
of a batch of 16 photos (docs/benchmarks/stages-7b.json). For inference only: there is no gradient.
Training compiles the same by torch.compile (training/fast_step/kernels.py), which cannot be
captured in a thread such as the page's (docs/log.md).
Off with `--decoder generate`; equal by test_gpu_elementwise.py. Can go when transformers' own
kernels (its `kernels` integration) cover Qwen2-VL's tower.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl
from triton import language as tl

FLAT = 1024  # numbers per program of an elementwise kernel


@triton.jit
def _normalize(states, weight, output, width, epsilon, WIDTH: tl.constexpr):
    place = tl.arange(0, WIDTH)
    row = tl.program_id(0).to(tl.int64) * width
    wide = tl.load(states + row + place, mask=place < width, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide) / width + epsilon)
    scales = tl.load(weight + place, mask=place < width)
    unit = (wide * scale).to(scales.dtype)
    tl.store(output + row + place, unit * scales, mask=place < width)


@triton.jit
def _swiglu(gate, up, output, count, FLAT: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * FLAT + tl.arange(0, FLAT)
    inside = place < count
    factor = tl.load(up + place, mask=inside)
    wide = tl.load(gate + place, mask=inside).to(tl.float32)
    silu = (wide * tl.sigmoid(wide)).to(factor.dtype)
    tl.store(output + place, silu * factor, mask=inside)


@triton.jit
def _quick_gelu(states, output, count, FLAT: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * FLAT + tl.arange(0, FLAT)
    wide = tl.load(states + place, mask=place < count).to(tl.float32)
    tl.store(output + place, wide * tl.sigmoid(1.702 * wide), mask=place < count)


@triton.jit
def _rotate(
    states, cosine, sine, output, tokens, heads, half,
    photo_stride, token_stride, head_stride, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """All heads of one token; `output` is contiguous (photos, tokens, heads, 2 * half)."""
    row = tl.program_id(0).to(tl.int64)
    head, place = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside, angle = (head < heads) & (place < half), row * 2 * half + place
    # 1) the first and the second half of each head
    source = states + row // tokens * photo_stride + row % tokens * token_stride
    source += head * head_stride + place
    first = tl.load(source, mask=inside).to(tl.float32)
    second = tl.load(source + half, mask=inside).to(tl.float32)
    # 2) turned by the token's angles
    cosines = tl.load(cosine + angle, mask=place < half).to(tl.float32)
    sines = tl.load(sine + angle, mask=place < half).to(tl.float32)
    target = output + (row * heads + head) * 2 * half + place
    tl.store(target, first * cosines - second * sines, mask=inside)
    tl.store(target + half, second * cosines + first * sines, mask=inside)


def normalize(norm: nn.Module, states: Tensor) -> Tensor:
    """Qwen2-VL's RMSNorm of (..., width) states, rounded where it rounds."""
    states = states.contiguous()
    output, width = torch.empty_like(states), states.shape[-1]
    rows = (states.numel() // width,)
    size = triton.next_power_of_2(width)
    _normalize[rows](states, norm.weight, output, width, norm.variance_epsilon, WIDTH=size)
    return output


def swiglu(mlp: Any, states: Tensor) -> Tensor:
    """The language model's MLP: SwiGLU (arXiv:2002.05202) of (..., width) states."""
    gate, up = mlp.gate_proj(states), mlp.up_proj(states)
    output = torch.empty_like(gate)
    programs = (triton.cdiv(gate.numel(), FLAT),)
    _swiglu[programs](gate, up, output, gate.numel(), FLAT=FLAT)
    return mlp.down_proj(output)


def quick_gelu(states: Tensor) -> Tensor:
    """The vision tower's activation, x * sigmoid(1.702 x)."""
    states = states.contiguous()
    output = torch.empty_like(states)
    programs = (triton.cdiv(states.numel(), FLAT),)
    _quick_gelu[programs](states, output, states.numel(), FLAT=FLAT)
    return output


def rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions of (photos, tokens, heads, width) states of any strides but the last, by
    angles whose halves are equal (photos, tokens, width)."""
    photos, tokens, heads, width = states.shape
    output = torch.empty(states.shape, dtype=states.dtype, device=states.device)
    sizes = {"HEADS": triton.next_power_of_2(heads), "HALF": triton.next_power_of_2(width // 2)}
    angles = cosine.contiguous(), sine.contiguous()
    strides = states.stride()[:3]
    _rotate[(photos * tokens,)](
        states, *angles, output, tokens, heads, width // 2, *strides, **sizes
    )
    return output


def fused_modules(model: Any) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """The norms, MLPs and activations of a model, by the kernels."""
    kernels: dict[type, Callable] = {
        qwen2_vl.Qwen2VLRMSNorm: lambda norm: partial(normalize, norm),
        qwen2_vl.Qwen2MLP: lambda mlp: partial(swiglu, mlp),
        QuickGELUActivation: lambda _: quick_gelu,
    }
    modules = model.model.modules()
    return {module: kernels[type(module)](module) for module in modules if type(module) in kernels}


@contextmanager
def fused_rotations(model: Any) -> Iterator[None]:
    """Rotates by the kernel in this model on a GPU, which is the current one meanwhile."""
    text, vision = qwen2_vl.apply_rotary_pos_emb, qwen2_vl.apply_rotary_pos_emb_vision

    def rotate_text(query: Tensor, key: Tensor, *angles: Tensor) -> tuple[Tensor, ...]:
        if _elsewhere(query):
            return text(query, key, *angles)
        return tuple(rotate(part.transpose(1, 2), *angles).transpose(1, 2) for part in (query, key))

    def rotate_vision(query: Tensor, key: Tensor, *angles: Tensor) -> tuple[Tensor, ...]:
        if _elsewhere(query):
            return vision(query, key, *angles)
        cosine, sine = angles
        return tuple(rotate(part[None], cosine[None], sine[None])[0] for part in (query, key))

    qwen2_vl.apply_rotary_pos_emb = rotate_text
    qwen2_vl.apply_rotary_pos_emb_vision = rotate_vision
    try:
        # Triton launches on the current GPU, which need not be the model's.
        with torch.cuda.device_of(model.lm_head.weight):
            yield
    finally:
        qwen2_vl.apply_rotary_pos_emb = text
        qwen2_vl.apply_rotary_pos_emb_vision = vision


def _elsewhere(states: Tensor) -> bool:
    """True for another thread's model, which trains or is on the CPU."""
    return states.device.type != "cuda" or torch.is_grad_enabled()
