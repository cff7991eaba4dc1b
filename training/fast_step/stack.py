"""All decoder layers as one step of autograd, on a GPU replayed as two CUDA graphs.

A pass through 28 layers and back is some 3,000 kernels, which take a CPU longer to launch one by
one than a GPU to run for a photo or two.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nutrition_vl.decoding.cuda_graphs import Graph
from training.fast_step.layers import Layer, Trace

ROOM = 32  # lengths are rounded up to it, so that shapes come again
SHAPES = 8  # whose graphs are kept


class Pass:
    """A batch's way through layers and back."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.kept: list[tuple[Tensor, Trace | None]] = []

    def forward(self, states: Tensor, cosine: Tensor, sine: Tensor, seeds: Tensor) -> Tensor:
        """What the layers make of (batch, length, width); seeds (layers, 7) draw the dropout."""
        self.turn, self.seeds = (cosine, sine), seeds
        for layer, own in zip(self.layers, seeds, strict=True):
            trace = layer.trace(states, self.turn, own)
            self.kept.append((states, trace if layer.keeps else None))
            states = layer.finish(trace, own)
            del trace  # before the next layer's is made
        return states

    def backward(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of the states, and of all parameters in a row."""
        learned: list[Tensor] = []
        for layer, own in zip(reversed(self.layers), self.seeds.flip(0), strict=True):
            states, trace = self.kept.pop()  # freed layer by layer
            trace = trace or layer.trace(states, self.turn, own)
            gradient, found = layer.backward(states, self.turn, trace, gradient, own)
            learned[:0] = found
        return gradient, torch.cat([part.flatten() for part in learned])


class Recorded:
    """A Pass of one shape as two graphs; what the first keeps for the second stays in place."""

    def __init__(self, layers: list[Layer], inputs: tuple[Tensor, ...], pool: Any) -> None:
        # Nothing can be compiled while a graph is captured, and what torch.compile made before is
        # for one number of processor threads, which a data loader's thread and autograd's change.
        warm = Pass(layers)
        warm.backward(torch.zeros_like(warm.forward(*inputs)))
        run = Pass(layers)
        self.forth = Graph(run.forward, inputs, pool)
        self.back = Graph(run.backward, (torch.zeros_like(self.forth.value),), pool)

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the layers make of the states, valid until the next replay."""
        return self.forth.replay(inputs).detach()

    def backward(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients; those of the parameters are added up elsewhere and so copied."""
        states, learned = self.back.replay((gradient,))
        return states.detach(), learned.clone()


class Stack:
    """Decoder layers in a row, the last `kept` of which keep what their backward needs.

    With `graphs` a shape's first pass is the warm-up that its capture needs.
    """

    def __init__(self, layers: nn.ModuleList, kept: int, graphs: bool) -> None:
        first = len(layers) - kept
        self.layers = [Layer(module, at >= first) for at, module in enumerate(layers)]
        self.parameters = [weight for layer in self.layers for weight in layer.parameters]
        self.room = ROOM if graphs else 1
        self.pool = torch.cuda.graph_pool_handle() if graphs else None
        self.seen: dict[torch.Size, Recorded | None] = {}

    def way(self, inputs: tuple[Tensor, ...]) -> Pass | Recorded:
        """How inputs of this shape are to go."""
        shape = inputs[0].shape
        if self.pool is None or shape not in self.seen:
            if len(self.seen) == SHAPES:
                self.seen.clear()
            self.seen[shape] = None
            return Pass(self.layers)
        recorded = self.seen[shape] or Recorded(self.layers, inputs, self.pool)
        self.seen[shape] = recorded
        return recorded


class _Written(torch.autograd.Function):
    """A Stack as autograd sees it."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, cosine: Tensor, sine: Tensor, stack: Stack, *_: Tensor
    ) -> Tensor:
        ctx.stack, length = stack, states.shape[1]
        ctx.more = (0, 0, 0, -length % stack.room)  # on the right, where nobody looks back from
        # From PyTorch's own generator, so that runs repeat.
        seeds = torch.randint(2**32, (len(stack.layers), 7)).to(states.device, non_blocking=True)
        padded = (*(functional.pad(part, ctx.more) for part in (states, cosine, sine)), seeds)
        with torch.autocast(states.device.type, enabled=False):
            ctx.way = stack.way(padded)
            return ctx.way.forward(*padded)[:, :length]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights = ctx.stack.parameters
        with torch.autocast(gradient.device.type, enabled=False):
            states, learned = ctx.way.backward(functional.pad(gradient, ctx.more))
        ctx.way = None
        parts = learned.split([weight.numel() for weight in weights])
        shaped = [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
        return states[:, : gradient.shape[1]], None, None, None, *shaped


def write_out(layers: nn.ModuleList, kept: int, graphs: bool) -> Callable[[], None]:
    """Gives decoder layers their written backward in training, with `graphs` as a Stack replays it;
    returns what takes it away again.

    The first takes the states through all of them. They need batches padded on the right, where
    causal attention needs no mask.
    """
    stack = Stack(layers, kept, graphs)
    checkpointed = [module.gradient_checkpointing for module in layers]
    for at, module in enumerate(layers):
        module.forward = _forward(module, stack if at == 0 else None)
        # Until transformers 5.24 checkpointing wraps the call and not `forward`: it would run each
        # layer once more, for half of a step's time.
        module.gradient_checkpointing = False

    def undo() -> None:
        for module, before in zip(layers, checkpointed, strict=True):
            vars(module).pop("forward")
            module.gradient_checkpointing = before

    return undo


def _forward(module: nn.Module, stack: Stack | None) -> Callable:
    plain = module.forward

    def forward(states: Tensor, *args: Any, **given: Any) -> Tensor:
        if not (module.training and torch.is_grad_enabled()):
            return plain(states, *args, **given)
        if stack is None:
            return states
        return _Written.apply(states, *given["position_embeddings"], stack, *stack.parameters)

    return forward
