"""Several processes share the photos of a sweep: `accelerate launch -m eval`.

Each answers whole batches, the same that one process would make, into a part of its own; the first
then puts the parts together. So the results are the same, and a stopped sweep loses nothing.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from glob import escape
from pathlib import Path
from typing import TypeVar

from accelerate import PartialState

from eval.sweep.locks import hold
from eval.sweep.resume import entries

LOCK = ".lock"
Item = TypeVar("Item")


class Sharing:
    """This process among those that accelerate, or nobody, has started."""

    def __init__(self, device: str) -> None:
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        # Not made for one alone: it settles the device of all that runs in the process later.
        self._state = PartialState(cpu=device == "cpu") if several else None
        self.index = self._state.process_index if self._state else 0
        self.count = self._state.num_processes if self._state else 1

    @property
    def leads(self) -> bool:
        """Whether this process puts together, shows and writes."""
        return self.index == 0

    @contextmanager
    def alone(self, folders: Iterable[Path]) -> Iterator[None]:
        """Keeps other commands out of the folders; ValueError where one is at work there."""
        with ExitStack() as held:
            for folder in folders if self.leads else ():
                folder.mkdir(parents=True, exist_ok=True)
                hold(held.enter_context((folder / LOCK).open("a")), folder)
            self._wait()
            yield

    def share(self, batches: Sequence[Item]) -> Sequence[Item]:
        """The batches that this process answers."""
        return batches[self.index :: self.count]

    def part(self, file: Path) -> Path:
        """Where this process puts its lines of a predictions file."""
        return file if self.count == 1 else _part(file, str(self.index))

    def settle(self, file: Path, ids: Sequence[str]) -> None:
        """Waits for all processes and appends their parts to the file, in the order of the ids."""
        self._wait()
        if self.leads:
            _put_together(file, ids)
        self._wait()

    def _wait(self) -> None:
        if self._state:
            self._state.wait_for_everyone()


def _put_together(file: Path, ids: Sequence[str]) -> None:
    """Parts of a stopped sweep too; what the file already says is not said again."""
    parts = sorted(file.parent.glob(f"{escape(_part(file, '').name)}*"))
    said = {entry["id"]: line for part in parts for entry, line in entries(part)}
    order = {name: number for number, name in enumerate(ids)}
    known = {entry["id"] for entry, _ in entries(file)}
    new = sorted(said.keys() - known, key=lambda name: order.get(name, len(order)))
    if new:
        with file.open("ab") as out:
            out.writelines(said[name] + b"\n" for name in new)
    for part in parts:
        part.unlink()


def _part(file: Path, number: str) -> Path:
    return file.with_name(f"{file.name}.part{number}")
