"""Runs functions of tensors eagerly, or replays them as CUDA graphs, whose launch costs nothing.

A 7B decoding step is about 2,500 small kernels: the CPU takes 40 ms to launch them, the GPU 9
to compute them (H100). The price: shapes must repeat, hence the padding. `Eager` replaces `Graphs`;
equal by test_cuda_graphs.py. Can go once torch.compile captures a step with bitsandbytes' kernels.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

Function = Callable[..., Tensor]


class Eager:
    """Calls functions directly, with shapes as they are."""

    static_shapes = False  # True: tensors that functions read and write must keep their addresses

    def pad_batch(self, photos: int) -> int:
        """Rows of a batch of so many photos."""
        return photos

    def pad_tokens(self, tokens: int) -> int:
        """Tokens per row of a step of at most so many."""
        return tokens

    def pad_cache(self, slots: int) -> int:
        """Slots that attention reads where so many are filled."""
        return slots

    def run(self, key: Hashable, function: Function, *inputs: Tensor) -> Tensor:
        """The function's value; one key always stands for the same computation."""
        return function(*inputs)

    def clear(self) -> None:
        """Frees all captured graphs."""


class Rounded(Eager):
    """Rounds shapes up, so that a few of them repeat."""

    static_shapes = True

    def pad_batch(self, photos: int) -> int:
        return _power_of_two(photos)

    def pad_tokens(self, tokens: int) -> int:
        if tokens <= 4:
            return _power_of_two(tokens)
        step = 8 if tokens <= 64 else 64
        return step * -(-tokens // step)

    def pad_cache(self, slots: int) -> int:
        return 256 * -(-slots // 256)


class Graphs(Rounded):
    """Captures a call when it comes a second time; the first is the warm-up that a capture needs.

    Keeps the `keep` graphs used last. They share one memory pool, because they never run at once.
    """

    def __init__(self, keep: int = 64) -> None:
        self.keep = keep
        self.clear()

    def clear(self) -> None:
        self.warm: set[Hashable] = set()
        self.graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self.pool = torch.cuda.graph_pool_handle()

    def run(self, key: Hashable, function: Function, *inputs: Tensor) -> Tensor:
        key = (key, *(tuple(tensor.shape) for tensor in inputs))
        if key not in self.warm:
            self.warm.add(key)
            return function(*inputs)
        if key not in self.graphs:
            self.graphs[key] = Graph(function, inputs, self.pool)
        self.graphs.move_to_end(key)
        if len(self.graphs) > self.keep:
            self.graphs.popitem(last=False)
        return self.graphs[key].replay(inputs)


class Graph:
    """One captured call with its input and output buffers."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...], pool: tuple[int, int]):
        self.inputs = tuple(tensor.clone() for tensor in inputs)
        self.graph = torch.cuda.CUDAGraph()
        # Thread local: otherwise a thread that pins memory for the next batch ends the capture.
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.value = function(*self.inputs)

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The value for these inputs, valid until the next replay."""
        for buffer, tensor in zip(self.inputs, inputs, strict=True):
            buffer.copy_(tensor)
        self.graph.replay()
        return self.value


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
