"""Several processes share the photos: `accelerate launch -m eval`, or `-m nutrition_vl`.

Each predicts whole batches, the same that one process would make, and appends them to the same
file. So the results are the same, and a stopped command loses nothing.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState

from nutrition_vl.files import one_writer

Item = TypeVar("Item")
# The first process waits for the last, hours in a run of days; NCCL's own limit is 10 minutes.
TIMEOUT = timedelta(days=30)


class Processes:
    """This process among those that accelerate has started, or alone."""

    def __init__(self, device: str) -> None:
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        cpu = device == "cpu" or not torch.cuda.is_available()  # else each would be alone there
        # Not made for one alone: it settles the device of all that runs in the process later.
        self._state = PartialState(cpu=cpu, timeout=TIMEOUT) if several else None
        self.index = self._state.process_index if self._state else 0
        self.count = self._state.num_processes if self._state else 1

    @property
    def is_main(self) -> bool:
        """True for the one process that prints and writes the report."""
        return self.index == 0

    @contextmanager
    def only_command(self, folders: Iterable[Path]) -> Iterator[None]:
        """Keeps other commands out of the folders; ValueError where one is at work there."""
        with ExitStack() as locks:
            for folder in folders if self.is_main else ():
                locks.enter_context(one_writer(folder, "choose another --out"))
            self.wait()
            yield

    def share(self, items: Sequence[Item], size: int) -> list[Sequence[Item]]:
        """The batches of this size that this process predicts, the same that one would make."""
        batches = [items[at : at + size] for at in range(0, len(items), size)]
        return batches[self.index :: self.count]

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self._state:
            self._state.wait_for_everyone()
