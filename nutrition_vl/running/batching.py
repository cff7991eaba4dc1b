"""Prefetches inputs in threads, and halves a batch that runs out of GPU memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

THREADS = 8  # reading and resizing a phone's photo takes 0.1 s

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    prepare: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """The results in order, prepared in threads, at most `ahead` items ahead."""
    items = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque(pool.submit(prepare, item) for item in islice(items, ahead))
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
