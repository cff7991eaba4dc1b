"""Prefetches inputs in threads, and halves a batch that runs out of GPU memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

from nutrition_vl.running.threads import usable_cores

THREADS = 8  # at most: a phone's photo takes one 0.1 s, and each may hold 64 megapixels

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    prepare: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """The results in order, prepared in threads, one per core, at most `ahead` (>= 2) items ahead.

    A single item is prepared without a thread.
    """
    items = iter(items)
    first = list(islice(items, ahead))
    if len(first) < 2:  # a new thread would cost one photo 3 ms
        yield from map(prepare, first)
        return
    with ThreadPoolExecutor(min(THREADS, usable_cores())) as pool:
        waiting = deque(pool.submit(prepare, item) for item in first)
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(prepare, item) for item in islice(items, 1))
            yield result


def run_in_halves(
    run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], clear: Callable[[], None]
) -> list[Result]:
    """Runs all items in one batch, or in halves where a GPU has no memory for it.

    `clear` frees memory of earlier batches. torch.OutOfMemoryError for a single item that is too
    large.
    """
    try:
        return run(items)
    except torch.OutOfMemoryError:
        if len(items) == 1:
            raise
    clear()
    torch.cuda.empty_cache()
    half = len(items) // 2
    return run_in_halves(run, items[:half], clear) + run_in_halves(run, items[half:], clear)
