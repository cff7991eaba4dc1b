"""What commands have in common: a help text, and a terminal kept to what they have to say."""

import argparse
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' remarks off the terminal; their errors still show."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


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
