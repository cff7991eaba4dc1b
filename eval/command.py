"""What all commands of the evaluation have in common: how they fail."""

import logging
import os
import sys
import warnings
from collections.abc import Callable


def guarded(name: str, run: Callable[[], int]) -> int:
    """The exit code of `run`, or 2 after one sentence on stderr for a mistake of the user's.

    The libraries' remarks are not shown, their errors are.
    """
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run()
    except BrokenPipeError:  # the reader, `head` perhaps, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        logging.disable(logging.NOTSET)
