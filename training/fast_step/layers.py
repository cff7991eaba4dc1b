"""Decoder layers of frozen weights and LoRA whose backward pass is written out.

The backward of a frozen linear layer needs its weight and never its input, so most of what autograd
keeps, or gradient checkpointing computes again, is for nothing. These layers keep their input alone
and compute the rest again, or keep the few tensors that the backward needs where memory allows.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb

from training.fast_step.kernels import fused, normalize, normalize_backward, swiglu, swiglu_backward
from training.fast_step.lora_linear import Projection


@dataclass
class Trace:
    """What the backward of a layer needs besides its input.

    `heads` are queries, keys and values (batch, heads, length, width) after M-RoPE; a graph of
    autograd leads from them to `mixed`. `middle` lies between attention and MLP.
    """

    heads: list[Tensor]
    mixed: Tensor
    middle: Tensor
    gate: Tensor
    up: Tensor


class Layer:
    """A decoder layer of Qwen2-VL: attention with M-RoPE, then SwiGLU, each after an RMSNorm.

    Whether it `keeps` its trace from forward to backward, or only its input, is a matter of memory.
    """

    def __init__(self, layer: nn.Module, keeps: bool) -> None:
        self.attention, self.keeps = layer.self_attn, keeps
        self.norms = layer.input_layernorm, layer.post_attention_layernorm
        attention = [getattr(layer.self_attn, f"{name}_proj") for name in "qkvo"]
        mlp = [getattr(layer.mlp, f"{name}_proj") for name in ("gate", "up", "down")]
        self.parts = [Projection(module) for module in (*attention, *mlp)]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The adapters' matrices, in the order of the gradients that `backward` returns."""
        return [weight for part in self.parts for weight in part.parameters]

    def trace(self, states: Tensor, turn: tuple[Tensor, Tensor], seeds: Tensor) -> Trace:
        """Computes all but the last projection of (batch, length, width) states."""
        query, key, value = self._attended(self._normalized(0, states), turn, seeds)
        query, key, value = heads = [part.detach().requires_grad_() for part in (query, key, value)]
        with torch.enable_grad():
            mixed = functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=self.attention.scaling, enable_gqa=True
            )
        middle = states + self.parts[3].forward(_joined(mixed.detach()), seeds[3])
        seen = self._normalized(1, middle)
        gate, up = (self.parts[at].forward(seen, seeds[at]) for at in (4, 5))
        return Trace(heads, mixed, middle, gate, up)

    def finish(self, trace: Trace, seeds: Tensor) -> Tensor:
        """The layer's output."""
        return trace.middle + self.parts[6].forward(self._product(trace), seeds[6])

    def backward(
        self,
        states: Tensor,
        turn: tuple[Tensor, Tensor],
        trace: Trace,
        gradient: Tensor,
        seeds: Tensor,
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradients of the states and of `parameters`."""
        cosine, sine = turn
        middle, mlp = self._mlp_backward(trace, gradient, seeds)
        mixed, out = self._back(3, middle, _joined(trace.mixed.detach()), seeds)
        width = (-1, self.attention.head_dim)
        heads = torch.autograd.grad(
            trace.mixed, trace.heads, mixed.unflatten(-1, width).transpose(1, 2)
        )
        unturned = fused(apply_rotary_pos_emb, states.device.type)(*heads[:2], cosine, -sine)
        seen, result, learned = self._normalized(0, states), None, []
        for at, part in enumerate((*unturned, heads[2])):
            result, found = self._back(at, _joined(part), seen, seeds, result)
            learned += found
        return middle + self._unnormalized(0, states, result), [*learned, *out, *mlp]

    def _mlp_backward(
        self, trace: Trace, gradient: Tensor, seeds: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        product = self._product(trace) if self.parts[6].parameters else None
        steep, down = self._back(6, gradient, product, seeds)
        split = fused(swiglu_backward, gradient.device.type)
        gates = split(trace.gate, trace.up, steep)
        adapted = self.parts[4].parameters or self.parts[5].parameters
        seen = self._normalized(1, trace.middle) if adapted else None
        result, gate = self._back(4, gates[0], seen, seeds)
        result, up = self._back(5, gates[1], seen, seeds, result)
        return gradient + self._unnormalized(1, trace.middle, result), [*gate, *up, *down]

    def _back(
        self, at: int, gradient: Tensor, states: Tensor | None, seeds: Tensor, into: Any = None
    ) -> tuple[Tensor, list[Tensor]]:
        """A projection's backward, on rows of states."""
        rows = None if states is None else states.flatten(0, 1)
        into = None if into is None else into.flatten(0, 1)
        result, learned = self.parts[at].backward(gradient.flatten(0, 1), rows, seeds[at], into)
        return result.unflatten(0, gradient.shape[:2]), learned

    def _attended(
        self, seen: Tensor, turn: tuple[Tensor, Tensor], seeds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        split = [
            self.parts[at]
            .forward(seen, seeds[at])
            .unflatten(-1, (-1, self.attention.head_dim))
            .transpose(1, 2)
            for at in range(3)
        ]
        return *fused(apply_rotary_pos_emb, seen.device.type)(*split[:2], *turn), split[2]

    def _product(self, trace: Trace) -> Tensor:
        return fused(swiglu, trace.gate.device.type)(trace.gate, trace.up)

    def _normalized(self, at: int, states: Tensor) -> Tensor:
        norm = self.norms[at]
        run = fused(normalize, states.device.type)
        return run(states, norm.weight, norm.variance_epsilon)

    def _unnormalized(self, at: int, states: Tensor, gradient: Tensor) -> Tensor:
        norm = self.norms[at]
        run = fused(normalize_backward, states.device.type)
        return run(states, norm.weight, norm.variance_epsilon, gradient)


def _joined(heads: Tensor) -> Tensor:
    """(batch, heads, length, width) side by side: (batch, length, heads * width)."""
    return heads.transpose(1, 2).flatten(2)
