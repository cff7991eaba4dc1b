"""Two processes share a sweep and find what one finds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from labelled import label

from eval.__main__ import main
from eval.sharing import Sharing
from nutrition_vl.checkpoints import DEMO

ROOT = Path(__file__).parents[1]


def found(file: Path) -> list[dict]:
    """A predictions file without the times, which no two runs share."""
    return [
        {key: value for key, value in json.loads(line).items() if key != "seconds"}
        for line in file.read_text().splitlines()
    ]


def test_parts_of_a_stopped_sweep_are_put_together_in_order(tmp_path):
    file = tmp_path / "checkpoint-9.jsonl"
    file.write_text('{"id": "b"}\n')
    (tmp_path / "checkpoint-9.jsonl.part0").write_text('{"id": "d"}\n{"id": "b"}\n{"id": "e"')
    (tmp_path / "checkpoint-9.jsonl.part1").write_text('{"id": "c"}\n{"id": "a"}\n')
    Sharing("cpu").settle(file, ["a", "b", "c", "d", "e"])
    assert [row["id"] for row in found(file)] == ["b", "a", "c", "d"]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_one_process_has_no_parts(tmp_path):
    alone = Sharing("cpu")
    assert alone.leads
    assert alone.part(tmp_path / "base.jsonl") == tmp_path / "base.jsonl"
    assert alone.share([[0, 1], [2]]) == [[0, 1], [2]]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    boxes = [[(0.2, 0.2, 0.7, 0.6)], [], [(0.1, 0.5, 0.5, 0.9)], [(0, 0, 1, 1)], []]
    data = label(tmp_path / "data", boxes)
    run = tmp_path / "qlora"
    shutil.copytree(DEMO / "adapter", run / "checkpoint-9")
    outs = tmp_path / "one", tmp_path / "two"
    options = f"--run {run} --data {data} --batch-size 2 --device cpu --out".split()
    assert main([*options, str(outs[0])]) == 0
    # --multi_gpu is accelerate's word for torchrun; without it two CPU processes need MPI.
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 -m eval".split()
    command = [sys.executable, *launch, *options, str(outs[1])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"results"') == 1  # one of the two reports
    for name in ("base", "checkpoint-9"):
        one, two = (out / "predictions" / "qlora" / f"{name}.jsonl" for out in outs)
        assert found(one) == found(two)
    assert not [*tmp_path.rglob("*.part*")]
