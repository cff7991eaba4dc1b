"""A training killed at any moment, and killed again while it resumes, ends as if never killed."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nutrition_vl.models.checkpoints import list_checkpoints, read_card
from tests.helpers.labelled import label
from tests.helpers.small_run import TABLE, command, losses
from training.__main__ import main

ROOT = Path(__file__).parents[3]
KILLS = 10
SETTINGS = {"max_steps": 8, "save_steps": 1}


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path):
    data = label(tmp_path / "set", [TABLE, [], TABLE, TABLE, TABLE, TABLE])
    assert main(command(data, tmp_path / "whole", **SETTINGS)) == 0
    run, moments = tmp_path / "broken", random.Random(0)
    start = time.monotonic()
    assert train(data, run, None) == 0  # an unbroken process tells how long one takes
    seconds = time.monotonic() - start
    for path in run.glob("checkpoint-[4-8]"):  # go back to the third step
        path.rename(tmp_path / path.name)
    for _ in range(KILLS):
        if train(data, run, moments.uniform(0, 1.2 * seconds)) == 0:
            break
        assert [read_card(folder).step for folder in list_checkpoints(run)]  # all of them whole
    assert train(data, run, None) == 0
    assert losses(run) == losses(tmp_path / "whole")
    assert len(list_checkpoints(run)) == 8 and not (run / ".saving").exists()


def train(data: Path, run: Path, seconds: float | None) -> int:
    """The exit code of a training in a process of its own, which is killed after some seconds."""
    resumed = {"resume_from_checkpoint": True} if list_checkpoints(run) else {"overwrite": True}
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *command(data, run, **SETTINGS, **resumed)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
