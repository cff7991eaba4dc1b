"""Shared by all commands: help, argument types, exit codes, quiet."""

import argparse
import errno
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nutrition_vl.running.threads import share_cores

LABEL = "class of the data that is the nutrition table; others are left out"
OURS = ("nutrition_vl", "training", "eval")


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the libraries' warnings and remarks; their errors and all messages of ours are shown.

    Levels of loggers would not do: transformers sets its own when it is imported.
    """
    usual = logging.getLogRecordFactory()

    def record(*args: Any, **options: Any) -> logging.LogRecord:
        record = usual(*args, **options)
        if record.levelno < logging.ERROR and record.name.partition(".")[0] not in OURS:
            record.levelno = -1  # below the level of every handler
        return record

    logging.setLogRecordFactory(record)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.setLogRecordFactory(usual)


def command(
    parser: Callable[[], argparse.ArgumentParser], run: Callable[[argparse.Namespace], int | None]
) -> Callable[..., int]:
    """Returns a command's `main`: parses the arguments, runs, returns the exit code."""

    def main(argv: Sequence[str] | None = None) -> int:
        options = parser()
        args = options.parse_args(argv)
        return guarded(options.prog.removeprefix("python -m "), lambda: run(args))

    return main


def guarded(name: str, run: Callable[[], int | None]) -> int:
    """Returns the exit code of `run`, or 2 after one sentence on stderr for a user's mistake."""
    share_cores()
    try:
        with quiet():
            return run() or 0
    except BrokenPipeError:  # the reader of stdout, such as `head`, is gone
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
    """Returns a parser whose help is a docstring: first line above the options, rest below."""
    about, _, details = (text or "").partition("\n")
    return argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=about,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """Parses a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number from 1 up, not {text}")
    return int(text)


def place(text: str) -> Path:
    """Parses a photo or a folder to read."""
    if not text:
        raise argparse.ArgumentTypeError("a name is empty: give a photo or a folder")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is a URL, which nutrition_vl.batch reads")
    return Path(text)


def folder(text: str) -> Path:
    """Parses a folder to write to, which may not exist yet."""
    path = Path(text)
    taken = next((place for place in (path, *path.parents) if place.exists()), path)
    if taken.exists() and not taken.is_dir():
        raise argparse.ArgumentTypeError(f"{taken} is a file: name a folder")
    return path


def file(text: str) -> Path:
    """Parses a file to write, whose folder may not exist yet."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: name a file in it")
    folder(str(path.parent))
    return path


def share(text: str) -> float:
    """Parses a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"give a number from 0 to 1, not {text}")
    return number
