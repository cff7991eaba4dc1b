"""How photos flow past the model: prepared ahead of it, in batches that fit its memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

READERS = 8  # threads; reading and resizing a phone's photo takes a tenth of a second

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetched(make: Callable[[Item], Made], items: Iterable[Item], ahead: int) -> Iterator[Made]:
    """What is made of each item, in order, in threads that are up to `ahead` items ahead."""
    items = iter(items)
    with ThreadPoolExecutor(READERS) as readers:
        waiting = deque(readers.submit(make, item) for item in islice(items, ahead))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(readers.submit(make, item) for item in islice(items, 1))
            yield made


def halved(
    work: Callable[[Sequence[Item]], list[Made]], items: Sequence[Item], forget: Callable[[], None]
) -> list[Made]:
    """All items' work in one go, or in halves where a GPU has no memory for that.

    `forget` frees what earlier work has left. One item that does not fit is torch.OutOfMemoryError.
    """
    try:
        return work(items)
    except torch.OutOfMemoryError:
        if len(items) == 1:
            raise
    forget()
    torch.cuda.empty_cache()
    half = len(items) // 2
    return halved(work, items[:half], forget) + halved(work, items[half:], forget)
