"""Files by name, here or in a bucket: paths, and URLs of every kind that fsspec opens."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from nutrition_vl.files import write_atomically

CLIENT_ERRORS = [
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("gcsfs.retry", "HttpError"),
]
TIMEOUT = 120  # seconds for one file; aiohttp's own is 300


def is_url(place: str) -> bool:
    """True for s3://bucket/key and its like, False for a path."""
    return "://" in place


def join(place: str, name: str) -> str:
    """The place of a file in a folder."""
    return f"{place.rstrip('/')}/{name}"


def absolute(place: str) -> str:
    """The place from any working directory, as Ray's workers have their own."""
    return place if is_url(place) else os.path.abspath(place)


def opened(place: str) -> tuple[Any, str]:
    """fsspec's filesystem of a place, and the path in it."""
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it prints tracebacks as well
    if not is_url(place):  # in which fsspec would take :: for a chain of filesystems
        return LocalFileSystem(), os.path.abspath(place)
    with explained(place):
        return url_to_fs(place)


def read(place: str) -> bytes:
    """A file's bytes; FileNotFoundError, PermissionError or ValueError in one sentence."""
    system, path = opened(place)
    with explained(place):
        return system.cat_file(path, **({"timeout": TIMEOUT} if system.async_impl else {}))


def write(place: str, content: bytes) -> None:
    """Writes a file whole or not at all; a bucket's put is atomic, a disk needs a rename."""
    system, path = opened(place)
    with explained(place):
        if is_url(place):
            system.pipe_file(path, content)
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(Path(path), content)


def create(place: str, content: bytes) -> bool:
    """Writes a file of a bucket that does not exist yet; False where it does."""
    system, path = opened(place)
    try:
        with explained(place):
            system.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    return True


def delete(place: str) -> None:
    """Deletes a file."""
    system, path = opened(place)
    with explained(place):
        system.rm_file(path)


def names(place: str) -> list[str]:
    """The files of a folder, by name and sorted; none where it does not exist."""
    system, path = opened(place)
    with explained(place):
        system.invalidate_cache()
        try:
            return sorted(os.path.basename(file) for file in system.ls(path, detail=False))
        except FileNotFoundError:
            return []


def find(place: str) -> list[str]:
    """The URLs of all files below a folder, or of those that match a glob, sorted."""
    system, path = opened(place)
    with explained(place):
        if any(sign in path for sign in "*?["):
            files = system.glob(path)
        else:
            system.ls(path)  # FileNotFoundError, where `find` would return an empty list
            files = system.find(path)
        return sorted(map(system.unstrip_protocol, files))


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turns the errors of disks, buckets and servers into one sentence about the place."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"there is no {place}: check the name") from error
    except PermissionError as error:
        raise PermissionError(
            f"{place} may not be opened: change its permissions, or give other credentials"
        ) from error
    except TimeoutError as error:  # its own text is empty
        raise TimeoutError(
            f"{place} has not come within {TIMEOUT} s: try it again later"
        ) from error
    except ImportError as error:  # fsspec names the package that opens such URLs
        raise ValueError(f"{place} needs a package: {error}") from error
    except _client_errors() as error:
        raise ValueError(f"{place} cannot be opened: {error}") from error


def _client_errors() -> tuple[type[Exception], ...]:
    """The errors of clients that are no OSError; one that is not imported has raised none."""
    modules = [(sys.modules.get(module), name) for module, name in CLIENT_ERRORS]
    return tuple(getattr(module, name) for module, name in modules if module)
