"""Measures Ray's overhead over `stream`, and memory: python -m tests.helpers.measure_batch.

Rates and CPU seconds count from the first 16 photos on, without loading. Memory is the sum of the
proportional set sizes of the driver and all of its processes. Prints JSON.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
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
        alone = of_stream(small, find_photos([photos])[: args.stream])
        ray = of_ray(small, photos, Path(folder) / "out")
    overhead = {name: round(ray[name] / alone[name] - 1, 3) for name in ("wall", "cpu")}
    print(json.dumps({"commit": git_commit(), "stream": alone, "ray": ray, "overhead": overhead}))


def checkpoint(folder: Path) -> Path:
    """The demo with 80 tokens per photo."""
    from nutrition_vl.models.load import PixelBudget, load_processor

    shutil.copytree(DEMO / "adapter", folder / "small")
    load_processor(folder / "small", PixelBudget(80, 80)).save_pretrained(folder / "small")
    return folder / "small"


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
    used: dict[int, float] = {}
    points = []
    while driver.is_running() and driver.status() != psutil.STATUS_ZOMBIE:
        tree = [driver, *driver.children(recursive=True)]
        memory = sum(sample(process, used) for process in tree)
        points.append((time.monotonic(), sum(used.values()), rows(out), memory / 1e6))
        print(f"{points[-1][2]} rows, {points[-1][3]:.0f} MB", file=sys.stderr, flush=True)
        time.sleep(SECONDS)
    points = [point for point in points if point[2] >= WARM]
    (start, cpu, first, _), (end, cpu_end, last, _) = points[0], points[-1]
    begin = time.monotonic()
    subprocess.run(words, check=True)
    return {
        "wall": (end - start) / (last - first),
        "cpu": (cpu_end - cpu) / (last - first),
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


def sample(process: psutil.Process, used: dict[int, float]) -> float:
    """A process's memory in bytes; notes its CPU seconds."""
    try:
        times = process.cpu_times()
        used[process.pid] = times.user + times.system
        return process.memory_full_info().pss
    except psutil.Error:
        return 0


def rows(out: Path) -> int:
    """The rows of all parts so far."""
    return sum(pq.read_metadata(part).num_rows for part in out.glob("part-*.parquet"))


if __name__ == "__main__":
    os.environ |= {"RAY_worker_niceness": "0"}  # as `stream` runs
    main()
