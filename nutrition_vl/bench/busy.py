"""Times the command on calm cores and next to busy processes, by how threads wait."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from nutrition_vl.files import git_commit, markdown_table

# The command's own setting comes first; libgomp's is what PyTorch does without it.
WAITING = {
    "bounded spinning": {},
    "libgomp's own": {"GOMP_SPINCOUNT": "300000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
HEAD = ("threads wait by", "busy processes", "first photo, s", "p50, s", "worst, s", "load before")


def measure(files: Sequence[Path], checkpoint: str, busy: int, repeats: int) -> dict[str, Any]:
    """Seconds per photo of each kind of waiting, with 0 and with `busy` processes next to it."""
    photos = [*islice(cycle(files), repeats)]
    rows = []
    for count in (0, busy):
        for name, setting in WAITING.items():
            load = os.getloadavg()[0]  # of others: the numbers of a shared machine are not its own
            with busy_processes(count):
                times = seconds(photos, checkpoint, setting)
            rows.append({"waiting": name, "busy": count, "load": round(load, 1), "seconds": times})
    return {"commit": git_commit(), "checkpoint": checkpoint, "rows": rows}


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that each keep one core busy."""
    order = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(order) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(photos: Sequence[Path], checkpoint: str, environment: Mapping[str, str]) -> list[float]:
    """Seconds from each open photo to its boxes, one at a time, in a process of its own."""
    order = [sys.executable, "-m", "nutrition_vl", "--checkpoint", checkpoint, "--device", "cpu"]
    order += ["--batch-size", "1", *map(str, photos)]
    done = subprocess.run(order, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1])
    return [json.loads(line)["seconds"] for line in done.stdout.splitlines()]


def table(results: Mapping[str, Any]) -> str:
    """The measurements as a Markdown table."""
    return markdown_table(HEAD, map(_cells, results["rows"]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    first, *others = row["seconds"]
    numbers = (row["busy"], first, round(median(others or [first]), 3), max(row["seconds"]))
    return [row["waiting"], *map(str, numbers), str(row["load"])]
