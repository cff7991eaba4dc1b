"""One command at a time on a bucket, by an object that the command at work keeps rewriting.

A bucket has no locks but conditional writes (If-None-Match on S3, a generation of 0 on Google's):
of two commands that create the object, one succeeds. A killed command leaves its object behind,
which stands still; the next command takes it over. A command that was only paused finds that out
before it writes. A store that ignores conditions leaves the seconds in which both create.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from threading import Event, Thread
from time import monotonic, sleep
from uuid import uuid4

from nutrition_vl.batch import places

NAME = ".claim"
BEAT, DEAD = 10, 35  # seconds between two versions, and until one that stands still is dead
logger = logging.getLogger(__name__)


class Claim:
    """The claim of this command on a folder of a bucket."""

    def __init__(self, folder: str) -> None:
        self.folder, self.place = folder, places.join(folder, NAME)
        self.owner = uuid4().hex.encode()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Claims the folder, after 35 s at most; ValueError where another command is at work."""
        self._take()
        end = Event()
        beat = Thread(target=self._beat, args=(end,), daemon=True)
        beat.start()
        try:
            yield
        finally:
            end.set()
            beat.join()
            if self._read().startswith(self.owner):
                places.delete(self.place)

    def check(self) -> None:
        """ValueError where another command has taken the folder over."""
        if not self._read().startswith(self.owner):
            raise ValueError(f"another command has taken {self.folder} over: let it end")

    def _take(self) -> None:
        seen, since = b"", monotonic()
        while not places.create(self.place, self.owner):
            content = self._read()
            if content == self.owner:  # a repeated request has met its own first one
                return
            if not content:  # that command has just ended
                continue
            if seen and content != seen:
                raise ValueError(
                    f"another command is writing to {self.folder}: let it end, or choose another"
                    " --out"
                )
            if not seen:
                logger.warning("%s is claimed: waiting for a sign of its command", self.folder)
            elif monotonic() - since > DEAD:
                places.delete(self.place)
            seen = content
            sleep(BEAT / 10)

    def _beat(self, end: Event) -> None:
        for number in count(1):
            if end.wait(BEAT):
                return
            with suppress(OSError, ValueError):  # a network may be back for the next one
                self.check()
                places.write(self.place, self.owner + b" %d" % number)

    def _read(self) -> bytes:
        try:
            return places.read(self.place)
        except FileNotFoundError:
            return b""
