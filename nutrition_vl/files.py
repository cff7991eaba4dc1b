"""Files as every command reads and writes them: JSON lines, atomic writes, tables, the commit."""

import errno
import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

LOCK = ".lock"


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """The complete lines of a file that a killed process may have cut short; none without file."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # the process died while it wrote this line
            break
    return rows


def write_jsonl(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replaces a file by one JSON line per row, atomically."""
    write_atomically(file, "".join(json.dumps(row) + "\n" for row in rows))


def append_jsonl(file: Path, row: dict[str, Any]) -> None:
    """Adds a row to a file as one JSON line."""
    with named_if_full(file), file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def write_atomically(file: Path, content: str | bytes) -> None:
    """Writes a file so that a kill at any moment leaves the whole old or the whole new one."""
    new = file.with_name(f".{file.name}.new")
    try:
        with named_if_full(file):
            new.write_bytes(content.encode() if isinstance(content, str) else content)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)  # else half a file fills a full disk


@contextmanager
def named_if_full(file: Path) -> Iterator[None]:
    """Names the file in the error of a full disk, which names none."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = error.filename or str(file)
        raise


@contextmanager
def one_writer(folder: Path, remedy: str, file: str = "") -> Iterator[None]:
    """Makes a folder and locks it, or one of its files by name.

    ValueError with a remedy where another command writes to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / (f".{file}{LOCK}" if file else LOCK)).open("a") as stream:
        if not lock(stream):
            place = folder / file
            raise ValueError(f"another command is writing to {place}: let it end, or {remedy}")
        yield


def lock(stream: IO[Any], wait: bool = False) -> bool:
    """Locks an open file until it is closed; False where another process has locked it."""
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # on Windows, and on network file systems without locks
        return True
    return True


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is aligned left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def git_commit() -> str:
    """The commit of this code, 12 digits, "-dirty" with changes; empty outside a checkout."""
    here, tags = str(Path(__file__).parent), ["--exclude", "*"]
    command = ["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=12", *tags]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""
