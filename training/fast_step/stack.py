"""Layer 0 runs all decoder layers as one autograd step; the other layers return their input.

Replaces autograd through the layers one by one, and the launch of some 3,000 kernels per pass: for
a photo or two a CPU launches them slower than a GPU runs them. Two CUDA graphs replay them instead.
Buys, with layers.py, 0.235 s per step within 8 GB where the library's best path takes 0.397 s
(random 7B, H200; docs/log.md).
Off with `--lean_layers False`, graphs alone with `--low_memory True`.
Equal by tests/training/fast_step/test_layers.py.
Can go when transformers trains a compiled frozen 4-bit model within 1.3 of this.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nutrition_vl.decoding.kernels.cuda_graphs import Graph
from training.fast_step.layers import Layer, Trace

MULTIPLE = 32  # lengths are padded to one of it, so that shapes recur
SHAPES = 8  # whose graphs are kept


@contextmanager
def fused_layers(layers: nn.ModuleList, kept: int, graphs: bool) -> Iterator[None]:
    """Trains decoder layers as one FusedStack while the context is open.

    They need batches padded on the right, where causal attention needs no mask.
    """
    stack = FusedStack(layers, kept, graphs)
    checkpointed = [module.gradient_checkpointing for module in layers]
    for at, module in enumerate(layers):
        module.forward = _forward(module, stack if at == 0 else None)
        # Until transformers 5.24 checkpointing wraps the call and not `forward`: it would run each
        # layer twice, for half of a step's time.
        module.gradient_checkpointing = False
    yield
    for module, before in zip(layers, checkpointed, strict=True):
        del module.forward
        module.gradient_checkpointing = before


def _forward(module: nn.Module, stack: "FusedStack | None") -> Callable:
    """A layer's forward: of all layers in the first, of none in the others."""
    plain = module.forward

    def forward(states: Tensor, *args: Any, **inputs: Any) -> Tensor:
        if not (module.training and torch.is_grad_enabled()):
            return plain(states, *args, **inputs)
        if stack is None:
            return states
        return _Step.apply(states, *inputs["position_embeddings"], stack, *stack.parameters)

    return forward


class FusedStack:
    """Decoder layers in a row, the last `kept` of which keep their traces for the backward pass.

    With `graphs` a shape's first pass is the warm-up that its capture needs.
    """

    def __init__(self, layers: nn.ModuleList, kept: int, graphs: bool) -> None:
        first = len(layers) - kept
        self.layers = [Layer(module, at >= first) for at, module in enumerate(layers)]
        self.parameters = [weight for layer in self.layers for weight in layer.parameters]
        self.multiple = MULTIPLE if graphs else 1
        self.pool = torch.cuda.graph_pool_handle() if graphs else None
        self.captured: dict[torch.Size, CapturedPass | None] = {}

    def new_pass(self, inputs: tuple[Tensor, ...]) -> "Pass | CapturedPass":
        """Returns the pass for inputs of this shape: eager the first time, then captured."""
        shape = inputs[0].shape
        if self.pool is None or shape not in self.captured:
            if len(self.captured) == SHAPES:
                self.captured.clear()
            self.captured[shape] = None
            return Pass(self.layers)
        captured = self.captured[shape] or CapturedPass(self.layers, inputs, self.pool)
        self.captured[shape] = captured
        return captured


class _Step(torch.autograd.Function):
    """A FusedStack as one node of autograd's graph."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, cosine: Tensor, sine: Tensor, stack: FusedStack, *_: Tensor
    ) -> Tensor:
        ctx.stack, length = stack, states.shape[1]
        # 1) pad on the right, where causal attention reads nothing
        ctx.padding = (0, 0, 0, -length % stack.multiple)
        padded = [functional.pad(part, ctx.padding) for part in (states, cosine, sine)]
        # 2) draw dropout's seeds from PyTorch's generator, so that runs repeat
        seeds = torch.randint(2**32, (len(stack.layers), 7)).to(states.device, non_blocking=True)
        # 3) run, or replay
        inputs = (*padded, seeds)
        with torch.autocast(states.device.type, enabled=False):
            ctx.run = stack.new_pass(inputs)
            return ctx.run.forward(*inputs)[:, :length]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights = ctx.stack.parameters
        with torch.autocast(gradient.device.type, enabled=False):
            by_states, by_weights = ctx.run.backward(functional.pad(gradient, ctx.padding))
        ctx.run = None
        parts = by_weights.split([weight.numel() for weight in weights])
        shaped = [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
        return by_states[:, : gradient.shape[1]], None, None, None, *shaped


class Pass:
    """One forward and backward pass of a batch through the layers."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.kept: list[tuple[Tensor, Trace | None]] = []

    def forward(self, states: Tensor, cosine: Tensor, sine: Tensor, seeds: Tensor) -> Tensor:
        """Returns the last states (batch, length, width); seeds (layers, 7) decide dropout."""
        self.rotary, self.seeds = (cosine, sine), seeds
        for layer, own in zip(self.layers, seeds, strict=True):
            trace = layer.trace(states, self.rotary, own)
            self.kept.append((states, trace if layer.keeps else None))
            states = layer.finish(trace, own)
            del trace  # before the next layer makes its own
        return states

    def backward(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients by the states, and by all parameters in a row."""
        by_weights: list[list[Tensor]] = []
        for layer, own in zip(reversed(self.layers), self.seeds.flip(0), strict=True):
            states, trace = self.kept.pop()  # freed layer by layer
            trace = trace or layer.trace(states, self.rotary, own)
            gradient, parts = layer.backward(states, self.rotary, trace, gradient, own)
            by_weights.insert(0, parts)
        return gradient, torch.cat([part.flatten() for parts in by_weights for part in parts])


class CapturedPass:
    """A Pass of one shape as two CUDA graphs; the first keeps the second's inputs in place."""

    def __init__(self, layers: list[Layer], inputs: tuple[Tensor, ...], pool: Any) -> None:
        # Nothing can be compiled during capture, and what torch.compile made before is for one
        # number of processor threads, which a data loader's thread and autograd's change.
        warm_up = Pass(layers)
        warm_up.backward(torch.zeros_like(warm_up.forward(*inputs)))
        run = Pass(layers)
        self.forward_graph = Graph(run.forward, inputs, pool)
        zeros = torch.zeros_like(self.forward_graph.value)
        self.backward_graph = Graph(run.backward, (zeros,), pool)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Returns the states, valid until the next replay."""
        return self.forward_graph.replay(inputs).detach()

    def backward(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients; the parameters' accumulate elsewhere and so are copied."""
        by_states, by_weights = self.backward_graph.replay((gradient,))
        return by_states.detach(), by_weights.clone()
