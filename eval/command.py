"""What all commands of the evaluation have in common: how they fail."""

import os
import sys
from collections.abc import Callable

from nutrition_vl.command import quiet


def guarded(name: str, run: Callable[[], int]) -> int:
    """The exit code of `run`, or 2 after one sentence on stderr for a mistake of the user's.

    The libraries' remarks are not shown, their errors are.
    """
    try:
        with quiet():
            return run()
    except BrokenPipeError:  # the reader, `head` perhaps, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
