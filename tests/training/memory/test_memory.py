"""The memory report: every row runs, is forecast, and is told in all its forms."""

import csv
import json

import pytest

from training.memory import report as memory_report
from training.memory.__main__ import main
from training.memory.techniques import TECHNIQUES

DEMO = "--model_name_or_path demo --use_cpu True --max_image_tokens 16".split()


def row(key, **facts):
    """A measured row of round numbers: 1 GB of it are activations."""
    base = {"key": key, "name": key.upper(), "problem": "", "trained": 2_500_000, "tokens": 1000}
    base |= {
        "start": 7e9,
        "peak": 8e9,
        "reserved": 9e9,
        "before": 5e9,
        "seconds": 2.0,
        "photos_per_second": 2.0,
    }
    base |= {"losses": [3.0, 2.5], "photos": 4, "forecast": {"weights": 7e9, "training": 5e8}}
    return base | facts


@pytest.fixture
def report():
    rows = [
        row("sdpa", peak=12e9, seconds=1.0),
        row("checkpoint", seconds=1.3),
        row("trl-flash", problem="there is none here"),
        row("trl"),
    ]
    return {
        "command": "python -m training.memory",
        "base": "random:7b",
        "machine": "bfloat16 on NVIDIA H100",
        "commit": "abc",
        "versions": {"torch": "2"},
        "multiplied": 6.5e9,
        "notes": ["A note."],
        "rows": rows,
    }


def test_what_is_saved_counts_from_the_row_before(report):
    lines = memory_report.cells(report["rows"])
    assert lines[0][:3] == ("SDPA", "12.00", "")
    assert lines[1][:6] == ("CHECKPOINT", "8.00", "+4.00", "9.00", "5.00", "1.300")
    assert lines[2][:2] == ("TRL-FLASH", "there is none here")
    assert lines[3][2] == "+0.00" and lines[3][-1] == "7.50"


def test_estimates_stand_beside_what_was_measured(report):
    told = memory_report.markdown(report)
    assert "| activations | 8 GB | 5 GB |" in told
    assert "| checkpointing | -4 GB | -4 GB |" in told
    assert "| its time | 40 % | 30 % |" in told
    assert "| peak of a step | 9 GB | 8 GB |" in told
    assert "8-bit optimiser" not in told  # its row was not measured
    assert "A note." in told


def test_the_distance_to_the_card(report):
    # 6.5e9 weights x 1000 tokens x 4 photos x 2 x 2 passes = 104 TFLOP: 0.1316 s at 790 a second.
    assert "| TRL | 15.19 | 10.13 |" in memory_report.markdown(report)


def test_all_forms_are_written(report, tmp_path):
    memory_report.write(report, tmp_path)
    assert json.loads((tmp_path / "memory.json").read_text()) == json.loads(json.dumps(report))
    with (tmp_path / "memory.csv").open() as file:
        assert [line["technique"] for line in csv.DictReader(file)] == [
            line["name"] for line in report["rows"]
        ]
    for picture in ("memory.png", "losses.png"):
        assert (tmp_path / picture).stat().st_size > 10_000


@pytest.mark.slow
def test_each_trainer_is_measured_on_the_same_base(tmp_path, capsys):
    rows = "adamw8,trl,fast,low,trl-flash"
    code = main([*DEMO, "--rows", rows, "--steps", "1", "--out", str(tmp_path)])
    assert code == 1  # there is no flash attention on a CPU
    found = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert [line["key"] for line in found] == rows.split(",")
    assert "flash_attention_2 needs a CUDA GPU" in found[-1]["problem"]
    for line in found[:-1]:
        assert not line["problem"], line
        assert line["peak"] >= line["start"] > 0 and line["seconds"] > 0
        assert len(line["steps"]) == 1 and len(line["losses"]) == 4  # three of them not timed
        assert line["losses"] == pytest.approx(found[0]["losses"], rel=0.01)
    assert "fast layers" in found[2]["plan"] and found[2]["photos"] == 4
    assert "technique" in capsys.readouterr().out


def test_a_7b_is_forecast_without_a_gpu(capsys):
    words = "--model_name_or_path random:7b --max_image_tokens 600 --use_cpu True --forecast 24"
    assert main([*words.split(), "--rows", "trl,fast,low,most"]) == 0
    told = capsys.readouterr().out
    assert "2 x 2 photos per step" in told and "28 keep" in told
    table = [line.split("│") for line in told.splitlines() if line.startswith("│")]
    sizes = {cells[1].strip(): float(cells[2]) for cells in table if cells[1].strip()}
    assert sizes["low memory"] < 4.6 < sizes["lean layers, within 8 GB"] < 7.9
    assert sizes["logits of answers only: TRL's recipe"] == pytest.approx(
        7.77, rel=0.05
    )  # measured


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "nothing"], "there is no row nothing: use bf16, "),
        (["--rows", "trl", "--learning", "1"], "unknown setting --learning"),
    ],
)
def test_a_mistake_is_one_sentence(words, said, capsys):
    assert main([*DEMO, *words]) == 2
    assert said in capsys.readouterr().err


def test_there_is_at_least_one_timed_step(capsys):
    with pytest.raises(SystemExit):
        main(["--steps", "0"])
    assert "give a whole number from 1 up, not 0" in capsys.readouterr().err


def test_rows_have_keys_of_their_own():
    assert len({technique.key for technique in TECHNIQUES}) == len(TECHNIQUES)
