"""Two processes on the CPU do what one does: accelerate launches them, gloo joins them."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from eval.__main__ import main as evaluate
from nutrition_vl.models.checkpoints import DEMO, read_card
from tests.helpers.labelled import label
from tests.helpers.small_run import TABLE, command, losses
from training.__main__ import main as train

ROOT = Path(__file__).parents[3]
# --multi_gpu is accelerate's word for torchrun; without it two CPU processes need MPI.
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
SETTINGS = {"per_device_train_batch_size": 1, "max_steps": 2, "lora_dropout": 0, "warmup_steps": 0}
BOXES = [[(0.2, 0.2, 0.7, 0.6)], [], [(0.1, 0.5, 0.5, 0.9)], [(0, 0, 1, 1)], []]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Photos to train on, photos to find tables on, a run to find them with, and all they hold."""
    folder = tmp_path_factory.mktemp("work")
    label(folder / "train", [TABLE, [], TABLE, TABLE, [], TABLE, TABLE, TABLE])
    label(folder / "val", BOXES)
    shutil.copytree(DEMO / "adapter", folder / "qlora" / "checkpoint-9")
    return folder


def training(work, run, accumulated):
    settings = SETTINGS | {"gradient_accumulation_steps": accumulated}
    return command(work / "train", run, **settings)


def evaluation(work, out):
    return f"--run {work / 'qlora'} --data {work / 'val'} --batch-size 2 --device cpu --out {out}"


@pytest.fixture(scope="module")
def both(work):
    """What two processes say and leave, which train and then evaluate."""
    run, out = work / "both", work / "two"
    words = ["training", *training(work, run, 2), "then", "eval", *evaluation(work, out).split()]
    launch = [*LAUNCH, "--main_process_port", "0", "-m", "tests.helpers.two_processes", *words]
    done = subprocess.run(launch, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(said=done.stdout, run=run, out=out)


@pytest.fixture(scope="module")
def alone(work):
    """The run of one process."""
    run = work / "alone"
    assert train(training(work, run, 4)) == 0
    return run


def test_two_machines_train_the_same(work, alone):
    """Two launchers on loopback, each a machine of one process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = work / "machines"
    words = ["-m", "training", *training(work, run, 2)]
    where = [
        "--num_machines",
        "2",
        "--main_process_ip",
        "127.0.0.1",
        "--main_process_port",
        str(port),
    ]
    machines = [
        subprocess.Popen([*LAUNCH, *where, "--machine_rank", str(rank), *words], cwd=ROOT)
        for rank in (0, 1)
    ]
    assert [machine.wait(300) for machine in machines] == [0, 0]
    assert losses(run) == [(step, pytest.approx(loss, rel=1e-3)) for step, loss in losses(alone)]


def test_two_processes_with_half_the_accumulation_train_the_same(alone, both):
    assert both.said.count("[1/7]") == both.said.count("trained:") == 1  # one of them speaks
    assert [step for step, _ in losses(both.run)] == [1, 2]
    assert [loss for _, loss in losses(both.run)] == pytest.approx(
        [loss for _, loss in losses(alone)], rel=1e-3
    )
    assert read_card(both.run / "checkpoint-2").step == 2
    weights = [
        load_file(run / "checkpoint-2/adapter_model.safetensors") for run in (alone, both.run)
    ]
    for name, weight in weights[0].items():
        assert weights[1][name].allclose(weight, atol=5e-4), name


def test_two_processes_find_what_one_finds(work, both):
    assert evaluate(evaluation(work, work / "one").split()) == 0
    assert both.said.count('"results"') == 1  # one of the two reports
    for name in ("base", "checkpoint-9"):
        files = (out / "predictions/qlora" for out in (work / "one", both.out))
        (one,), (two,) = (folder.glob(f"{name}-*.jsonl") for folder in files)
        assert one.name == two.name and found(one) == found(two)


def found(file: Path) -> list[dict]:
    """A predictions file by photo, without the times, which no two runs share."""
    lines = sorted(map(json.loads, file.read_text().splitlines()), key=lambda line: line["id"])
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
