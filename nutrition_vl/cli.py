"""What commands have in common: help, numbers, how they fail, and a terminal kept to what they
have to say."""

import argparse
import errno
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nutrition_vl.threads import share_cores

LABEL = "class of the data that is the nutrition table; others are left out"
OURS = ("nutrition_vl", "training", "eval")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' remarks off the terminal; their errors still show, and so does what our
    own modules have to say, of data for example."""
    usual = logging.getLogRecordFactory()

    # Not logging.disable, which knows no exceptions, nor levels, which libraries set when they are
    # imported: below 0 there is no handler that would take the record.
    def heard(*args: Any, **options: Any) -> logging.LogRecord:
        record = usual(*args, **options)
        if record.levelno < logging.ERROR and record.name.partition(".")[0] not in OURS:
            record.levelno = -1
        return record

    logging.setLogRecordFactory(heard)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.setLogRecordFactory(usual)


def guarded(name: str, run: Callable[[], int]) -> int:
    """The exit code of `run`, or 2 after one sentence on stderr for a mistake of the user's.

    The libraries' remarks are not shown, their errors are.
    """
    share_cores()
    try:
        with quiet():
            return run()
    except BrokenPipeError:  # the reader, `head` perhaps, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{name}: {_sentence(error)}\n")
        return 2
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, without importing it for --help
            raise
        sys.stderr.write(f"{name}: the GPU's memory is full: use --device cpu\n")
        return 2
    except KeyboardInterrupt:
        return 130


def _sentence(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error.filename or 'a file'} cannot be written: the disk is full, make room there"
    return str(error)


def described(command: str, text: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's own text: its first line above the options, the rest
    below."""
    about, _, details = (text or "").partition("\n")
    return argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=about,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """A number on the command line of what there has to be one of."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number from 1 up, not {text}")
    return int(text)


def folder(text: str) -> Path:
    """A folder on the command line that is to be written to, and may not be there yet."""
    path = Path(text)
    taken = next((place for place in (path, *path.parents) if place.exists()), path)
    if taken.exists() and not taken.is_dir():
        raise argparse.ArgumentTypeError(f"{taken} is a file: name a folder")
    return path


def file(text: str) -> Path:
    """A file on the command line that is to be written."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: name a file in it")
    folder(str(path.parent))
    return path


def share(text: str) -> float:
    """A number from 0 to 1 on the command line."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"give a number from 0 to 1, not {text}")
    return found
