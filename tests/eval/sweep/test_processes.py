"""The parts of a shared sweep; test_distributed.py shares one for real."""

import json

from eval.sweep.processes import Sharing


def test_parts_of_a_stopped_sweep_are_put_together_in_order(tmp_path):
    file = tmp_path / "checkpoint-9.jsonl"
    file.write_text('{"id": "b"}\n')
    (tmp_path / "checkpoint-9.jsonl.part0").write_text('{"id": "d"}\n{"id": "b"}\n{"id": "e"')
    (tmp_path / "checkpoint-9.jsonl.part1").write_text('{"id": "c"}\n{"id": "a"}\n')
    Sharing("cpu").settle(file, ["a", "b", "c", "d", "e"])
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [
        "b",
        "a",
        "c",
        "d",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_one_process_has_no_parts(tmp_path):
    alone = Sharing("cpu")
    assert alone.leads
    assert alone.part(tmp_path / "base.jsonl") == tmp_path / "base.jsonl"
    assert alone.share([[0, 1], [2]]) == [[0, 1], [2]]
