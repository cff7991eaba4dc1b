"""One command at a time writes to a place: two would each answer every photo."""

from pathlib import Path
from typing import IO


def hold(stream: IO[str], place: Path) -> None:
    """Keeps an open file to this command until it is closed.

    Raises ValueError where another has it, which writes to `place`.
    """
    try:
        import fcntl
    except ImportError:  # on Windows
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"another command is writing to {place}: let it end, or choose another --out"
        ) from error
    except OSError:  # some file systems of a network know no locks
        return
