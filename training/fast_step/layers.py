"""Decoder layers of frozen weights and LoRA with a hand-written backward pass.

Replaces gradient checkpointing. The backward of a frozen linear layer needs its weight and never
its input: most of what autograd keeps, and checkpointing computes again, is unnecessary. A layer
keeps its input and computes the rest again, or keeps the tensors of its Trace where memory allows.
Gain, flag, test and end: see stack.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb

from training.fast_step.kernels import fused, normalize, normalize_backward, swiglu, swiglu_backward
from training.fast_step.lora_linear import LoraLinear

QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN = range(7)
BEFORE_ATTENTION, BEFORE_MLP = range(2)
Rotary = tuple[Tensor, Tensor]  # M-RoPE's cosine and sine


@dataclass
class Trace:
    """The tensors that a layer's backward needs besides its input.

    `heads` are queries, keys and values (batch, heads, length, width) after M-RoPE; a graph of
    autograd leads from them to `attended`. `middle` are the states between attention and MLP.
    """

    heads: list[Tensor]
    attended: Tensor
    middle: Tensor
    gate: Tensor
    up: Tensor


class Layer:
    """A decoder layer of Qwen2-VL: attention with M-RoPE, then SwiGLU, each after an RMSNorm.

    `keeps` says that its trace stays in memory from forward to backward.
    """

    def __init__(self, layer: nn.Module, keeps: bool) -> None:
        self.attention, self.keeps = layer.self_attn, keeps
        self.norms = layer.input_layernorm, layer.post_attention_layernorm
        attention = [getattr(layer.self_attn, f"{name}_proj") for name in "qkvo"]
        mlp = [getattr(layer.mlp, f"{name}_proj") for name in ("gate", "up", "down")]
        self.linear = [LoraLinear(module) for module in (*attention, *mlp)]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The adapters' matrices, in the order of the gradients that `backward` returns."""
        return [weight for part in self.linear for weight in part.parameters]

    def trace(self, states: Tensor, rotary: Rotary, seeds: Tensor) -> Trace:
        """Computes all but the last projection of (batch, length, width) states."""
        # 1) attention; autograd differentiates its kernel, from detached heads on
        split = self._heads(self._norm(BEFORE_ATTENTION, states), rotary, seeds)
        query, key, value = heads = [part.detach().requires_grad_() for part in split]
        with torch.enable_grad():
            attended = functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=self.attention.scaling, enable_gqa=True
            )
        output = self.linear[OUTPUT].forward(_joined(attended.detach()), seeds[OUTPUT])
        middle = states + output
        # 2) MLP
        normed = self._norm(BEFORE_MLP, middle)
        gate, up = (self.linear[at].forward(normed, seeds[at]) for at in (GATE, UP))
        return Trace(heads, attended, middle, gate, up)

    def finish(self, trace: Trace, seeds: Tensor) -> Tensor:
        """Returns the layer's output."""
        return trace.middle + self.linear[DOWN].forward(_product(trace), seeds[DOWN])

    def backward(
        self, states: Tensor, rotary: Rotary, trace: Trace, gradient: Tensor, seeds: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns the gradients by the states and by `parameters`."""
        # 1) MLP
        by_middle, by_mlp = self._mlp_backward(trace, gradient, seeds)
        # 2) attention
        joined = _joined(trace.attended.detach())
        by_attended, by_output = self._backward(OUTPUT, by_middle, joined, seeds)
        split = by_attended.unflatten(-1, (-1, self.attention.head_dim)).transpose(1, 2)
        by_query, by_key, by_value = torch.autograd.grad(trace.attended, trace.heads, split)
        # 3) M-RoPE: the gradient turns the other way
        cosine, sine = rotary
        turn_back = fused(apply_rotary_pos_emb, states.device.type)
        by_query, by_key = turn_back(by_query, by_key, cosine, -sine)
        # 4) query, key and value, whose gradients add up
        normed, total, by_heads = self._norm(BEFORE_ATTENTION, states), None, []
        for at, part in enumerate((by_query, by_key, by_value)):
            total, by_adapter = self._backward(at, _joined(part), normed, seeds, total)
            by_heads += by_adapter
        by_states = by_middle + self._norm_backward(BEFORE_ATTENTION, states, total)
        return by_states, [*by_heads, *by_output, *by_mlp]

    def _mlp_backward(
        self, trace: Trace, gradient: Tensor, seeds: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        product = _product(trace) if self.linear[DOWN].parameters else None
        by_product, by_down = self._backward(DOWN, gradient, product, seeds)
        split = fused(swiglu_backward, gradient.device.type)
        by_gate, by_up = split(trace.gate, trace.up, by_product)
        adapted = self.linear[GATE].parameters or self.linear[UP].parameters
        normed = self._norm(BEFORE_MLP, trace.middle) if adapted else None
        total, gate = self._backward(GATE, by_gate, normed, seeds)
        total, up = self._backward(UP, by_up, normed, seeds, total)
        by_middle = gradient + self._norm_backward(BEFORE_MLP, trace.middle, total)
        return by_middle, [*gate, *up, *by_down]

    def _backward(
        self,
        at: int,
        gradient: Tensor,
        states: Tensor | None,
        seeds: Tensor,
        total: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """One linear layer's backward on rows of states, added to `total`."""
        rows = None if states is None else states.flatten(0, 1)
        total = None if total is None else total.flatten(0, 1)
        linear = self.linear[at]
        by_states, by_adapter = linear.backward(gradient.flatten(0, 1), rows, seeds[at], total)
        return by_states.unflatten(0, gradient.shape[:2]), by_adapter

    def _heads(
        self, states: Tensor, rotary: Rotary, seeds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        width = (-1, self.attention.head_dim)
        query, key, value = (
            self.linear[at].forward(states, seeds[at]).unflatten(-1, width).transpose(1, 2)
            for at in (QUERY, KEY, VALUE)
        )
        return *fused(apply_rotary_pos_emb, states.device.type)(query, key, *rotary), value

    def _norm(self, at: int, states: Tensor) -> Tensor:
        norm = self.norms[at]
        run = fused(normalize, states.device.type)
        return run(states, norm.weight, norm.variance_epsilon)

    def _norm_backward(self, at: int, states: Tensor, gradient: Tensor | None) -> Tensor:
        norm = self.norms[at]
        run = fused(normalize_backward, states.device.type)
        return run(states, norm.weight, norm.variance_epsilon, gradient)


def _product(trace: Trace) -> Tensor:
    return fused(swiglu, trace.gate.device.type)(trace.gate, trace.up)


def _joined(heads: Tensor) -> Tensor:
    """(batch, heads, length, width) side by side: (batch, length, heads * width)."""
    return heads.transpose(1, 2).flatten(2)
