"""Runs functions of tensors as they are, or replayed as CUDA graphs, whose launch costs nothing.

A 7B's decoding step is some 2,500 small kernels: the CPU needs 40 ms to launch what the GPU does in
9. The price is that shapes must come again, hence the rounding.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

Function = Callable[..., Tensor]


class Eager:
    """Shapes as they come, functions called.

    A step of up to `spare` tokens takes little longer than one of a single token.
    """

    spare = 16
    fixed = False  # whether what a function reads and writes has to stay where it is

    def rows(self, photos: int) -> int:
        """How many rows a batch of so many photos gets."""
        return photos

    def width(self, tokens: int) -> int:
        """How many tokens a step of at most so many gets."""
        return tokens

    def extent(self, slots: int) -> int:
        """How many slots are looked at where so many are filled."""
        return slots

    def run(self, key: Hashable, function: Function, *inputs: Tensor) -> Tensor:
        """The function's value; under one key it does the same with any inputs of one shape."""
        return function(*inputs)

    def forget(self) -> None:
        """Lets go of everything kept."""


class Rounded(Eager):
    """Rounds up, so that few shapes come again and again."""

    # A step of a 7B on an H100 took 20 ms for one photo's 32 tokens, 53 ms for the 512 of sixteen.
    spare = 64
    fixed = True

    def rows(self, photos: int) -> int:
        return _power_of_two(photos)

    def width(self, tokens: int) -> int:
        if tokens <= 4:
            return _power_of_two(tokens)
        step = 8 if tokens <= 64 else 64
        return step * -(-tokens // step)

    def extent(self, slots: int) -> int:
        return 256 * -(-slots // 256)


class Graphs(Rounded):
    """Captures what comes a second time; the first time is the warm-up that a capture needs.

    `keep` graphs are kept, the ones used last; they share one pool of memory, because they never
    run at once.
    """

    def __init__(self, keep: int = 64) -> None:
        self.keep = keep
        self.forget()

    def forget(self) -> None:
        self.seen: set[Hashable] = set()
        self.graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self.pool = torch.cuda.graph_pool_handle()

    def run(self, key: Hashable, function: Function, *inputs: Tensor) -> Tensor:
        key = (key, *(tuple(tensor.shape) for tensor in inputs))
        if key not in self.seen:
            self.seen.add(key)
            return function(*inputs)
        if key not in self.graphs:
            self.graphs[key] = Graph(function, inputs, self.pool)
        self.graphs.move_to_end(key)
        if len(self.graphs) > self.keep:
            self.graphs.popitem(last=False)
        return self.graphs[key].replay(inputs)


class Graph:
    """One captured call, with the places its inputs and its value stay at."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...], pool: tuple[int, int]):
        self.inputs = tuple(tensor.clone() for tensor in inputs)
        self.graph = torch.cuda.CUDAGraph()
        # Thread local: else a thread that only pins memory for the next batch ends the capture.
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.value = function(*self.inputs)

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The value for these inputs, valid until the next replay."""
        for place, tensor in zip(self.inputs, inputs, strict=True):
            place.copy_(tensor)
        self.graph.replay()
        return self.value


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
