"""Two processes on the CPU train what one does: accelerate launches them, gloo joins them."""

import subprocess
import sys
from pathlib import Path

import pytest
from labelled import label
from safetensors.torch import load_file
from small_run import TABLE, command, losses

from nutrition_vl.checkpoints import read_card
from training.__main__ import main

ROOT = Path(__file__).parents[1]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
SETTINGS = {"per_device_train_batch_size": 1, "max_steps": 2, "lora_dropout": 0, "warmup_steps": 0}


@pytest.mark.slow
def test_two_processes_with_half_the_accumulation_train_the_same(tmp_path):
    data = label(tmp_path / "data", [TABLE, [], TABLE, TABLE, [], TABLE, TABLE, TABLE])
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert main(command(data, alone, **SETTINGS, gradient_accumulation_steps=4)) == 0
    words = command(data, both, **SETTINGS, gradient_accumulation_steps=2)
    launch = [*LAUNCH, "--main_process_port", "0", "-m", "training", *words]
    done = subprocess.run(launch, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[1/7]") == done.stdout.count("trained:") == 1  # one of them speaks
    assert [step for step, _ in losses(both)] == [1, 2]
    assert [loss for _, loss in losses(both)] == pytest.approx(
        [loss for _, loss in losses(alone)], rel=1e-3
    )
    assert read_card(both / "checkpoint-2").step == 2
    weights = [load_file(run / "checkpoint-2/adapter_model.safetensors") for run in (alone, both)]
    for name, weight in weights[0].items():
        assert weights[1][name].allclose(weight, atol=5e-4), name
