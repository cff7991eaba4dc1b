"""Measures Ray's overhead over `stream`, and memory: python -m tests.helpers.measure_batch.

Both run in as many processes as there are cores. Rates and CPU seconds count from the first 16
photos on, without loading; those of the command are of its models, of the driver and of all else.
Memory is the sum of the proportional set sizes of all its processes. Prints JSON.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import psutil
import pyarrow.parquet as pq

from nutrition_vl.data.photos import find_photos
from nutrition_vl.files import git_commit
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.running.threads import share_cores
from tests.helpers.packs import draw

WARM, SECONDS = 16, 5


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--photos", type=int, default=500)
    options.add_argument("--stream", type=int, default=300, help="photos for stream alone")
    args = options.parse_args()
    share_cores()  # as the commands do before they import torch
    with TemporaryDirectory() as folder:
        small, photos = checkpoint(Path(folder)), draw(Path(folder) / "p", args.photos, broken=0)
        alone = of_streams(small, find_photos([photos])[: args.stream])
        ray = of_ray(small, photos, Path(folder) / "out")
    overhead = {name: round(ray[name] / alone[name] - 1, 3) for name in ("wall", "cpu")}
    print(json.dumps({"commit": git_commit(), "stream": alone, "ray": ray, "overhead": overhead}))


def checkpoint(folder: Path) -> Path:
    """The demo with 80 tokens per photo."""
    from nutrition_vl.models.load import PixelBudget, load_processor

    shutil.copytree(DEMO / "adapter", folder / "small")
    load_processor(folder / "small", PixelBudget(80, 80)).save_pretrained(folder / "small")
    return folder / "small"


def of_streams(small: Path, photos: list[Path]) -> dict:
    """The means of one detector per core, each with its share of the photos."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        shares = [photos[core::cores] for core in range(cores)]
        each = [*pool.map(of_stream, [small] * cores, shares)]
    wall, cpu = (mean(one[name] for one in each) for name in ("wall", "cpu"))
    return {"wall": wall / cores, "cpu": cpu, "photos": sum(one["photos"] for one in each)}


def of_stream(small: Path, photos: list[Path]) -> dict:
    """Wall and CPU seconds per photo of one detector."""
    from nutrition_vl.detector import Detector

    answers = Detector.load(small, device="cpu").stream(photos, batch_size=16, threshold=0.4)
    for _ in range(WARM):
        next(answers)
    start, cpu = time.monotonic(), time.process_time()
    rest = len([*answers])
    return {
        "wall": (time.monotonic() - start) / rest,
        "cpu": (time.process_time() - cpu) / rest,
        "photos": rest,
    }


def of_ray(small: Path, photos: Path, out: Path) -> dict:
    """The same of the batch command, memory in MB over time, and the seconds of a second run."""
    words = [
        sys.executable,
        "-m",
        "nutrition_vl.batch",
        photos,
        "--out",
        out,
        "--checkpoint",
        small,
    ]
    driver = psutil.Process(subprocess.Popen(words).pid)
    used: dict[int, tuple[str, float]] = {}
    points = []
    while driver.is_running() and driver.status() != psutil.STATUS_ZOMBIE:
        tree = [driver, *driver.children(recursive=True)]
        memory = sum(sample(process, used) for process in tree)
        points.append((time.monotonic(), by_kind(used), rows(out), memory / 1e6))
        print(f"{points[-1][2]} rows, {points[-1][3]:.0f} MB", file=sys.stderr, flush=True)
        time.sleep(SECONDS)
    points = [point for point in points if point[2] >= WARM]
    (start, cpu, first, _), (end, cpu_end, last, _) = points[0], points[-1]
    begin = time.monotonic()
    subprocess.run(words, check=True)
    seconds = {kind: (cpu_end[kind] - cpu[kind]) / (last - first) for kind in cpu_end}
    return {
        "wall": (end - start) / (last - first),
        "cpu": sum(seconds.values()),
        "cpu of": seconds,
        "photos": last - first,
        "memory": [round(memory) for *_, memory in points[:: max(1, len(points) // 12)]],
        "flat": means(points)[1] / means(points)[0] - 1,
        "again": time.monotonic() - begin,
    }


def means(points: list[tuple]) -> tuple[float, float]:
    """The mean memory of a run's first and second half."""
    memory = [point[-1] for point in points]
    half = len(memory) // 2
    return mean(memory[:half]), mean(memory[half:])


def by_kind(used: dict[int, tuple[str, float]]) -> Counter[str]:
    """The CPU seconds of all processes of a kind."""
    seconds: Counter[str] = Counter()
    for kind, one in used.values():
        seconds[kind] += one
    return seconds


def sample(process: psutil.Process, used: dict[int, tuple[str, float]]) -> float:
    """A process's memory in bytes; notes its kind and CPU seconds."""
    try:
        times, words = process.cpu_times(), process.cmdline()
        children = ["nutrition_vl.batch.child", "nutrition_vl.batch"]
        kind = next((name for name in children if name in words), (words or ["ray"])[0])
        used[process.pid] = (os.path.basename(kind), times.user + times.system)
        return process.memory_full_info().pss
    except psutil.Error:
        return 0


def rows(out: Path) -> int:
    """The rows of all parts so far."""
    return sum(pq.read_metadata(part).num_rows for part in out.glob("part-*.parquet"))


if __name__ == "__main__":
    os.environ |= {"RAY_worker_niceness": "0"}  # as `stream` runs
    main()
