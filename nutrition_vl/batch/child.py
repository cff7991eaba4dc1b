"""Runs the work that a photo can kill, its decoding and the model, in a child process.

Ray repeats the task of a worker that died, so that a broken photo would kill one worker after
another. The death of a child names its photos instead: each is tried again alone, and one that
ends the child twice alone has no result. A Ray worker that is killed closes the pipe to its child,
which then ends too.

`python -m nutrition_vl.batch.child FD` is the child; FD is its end of the pipe.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from nutrition_vl.cli import quiet
from nutrition_vl.running.quick_imports import quick_imports
from nutrition_vl.running.threads import share_cores

TRIES = 2
STARTS = 3  # of which two may be somebody's kill


class Child:
    """A process that holds a `work` of work.py, made with these options."""

    def __init__(self, work: str, options: dict[str, Any]) -> None:
        self.first = (work, options)
        self._start()

    def results(self, items: Sequence[Any]) -> list[Any]:
        """A result per item; None for an item that ends the process whenever it runs alone.

        ValueError where the work cannot go on, for a reason that is no item's.
        """
        for _ in range(1 if len(items) > 1 else TRIES):
            try:
                return self._call(items)
            except (EOFError, OSError):
                self._start()
        return [one for item in items for one in self.results([item])] if items[1:] else [None]

    def _call(self, message: Any) -> Any:
        self.pipe.send(message)
        answer = self.pipe.recv()
        if isinstance(answer, str):
            raise ValueError(answer)
        return answer

    def _start(self) -> None:
        """Starts a process; ValueError where its work cannot be made."""
        for _ in range(STARTS):
            own, other = socket.socketpair()
            paths = os.pathsep.join(path for path in sys.path if path)
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(other.fileno())],
                pass_fds=[other.fileno()],
                env=os.environ | {"PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
            )
            other.close()
            self.pipe = Connection(own.detach())
            try:
                return self._call(self.first)
            except (EOFError, OSError):
                continue
        raise ValueError(f"a worker ends while it loads the model, {STARTS} times: add memory")


def _serve(pipe: Connection) -> None:
    """Makes the work and does it for every list of items, until the parent is gone."""
    share_cores()
    name, options = pipe.recv()
    try:
        with quick_imports():
            from nutrition_vl.batch import work

            run = work.WORKS[name](**options)
        pipe.send(None)
        while True:
            items = pipe.recv()
            pipe.send(run(items))
    except EOFError:
        return
    except (OSError, ValueError) as error:
        pipe.send(str(error))


if __name__ == "__main__":
    with quiet(), Connection(int(sys.argv[1])) as own_end:
        _serve(own_end)
