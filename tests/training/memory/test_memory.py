"""The memory report: every row is forecast, measured in its own process, and reported."""

import json

import pytest

from training.memory import report
from training.memory.__main__ import main
from training.memory.rows import Row

DEMO = "--model_name_or_path demo --use_cpu True --max_image_tokens 16".split()


def test_all_forms_are_written(tmp_path):
    forecast = {"weights": 7.0, "training": 0.5}
    rows = [
        Row("trl", [], "4 x 1", forecast, 8.0, 9.0, 2.0, 2.0, [3.0, 2.5]),
        Row("trl-liger", [], problem="there is no Liger here"),
    ]
    report.write(rows, tmp_path, base="random:7b", machine="one H100", command="python -m x")
    written = json.loads((tmp_path / "memory.json").read_text())
    assert [row["key"] for row in written["rows"]] == ["trl", "trl-liger"]
    text = (tmp_path / "memory.md").read_text()
    name = "TRL, checkpointing, paged 8-bit AdamW"
    assert f"| {name} | 8.00 | 9.00 | 2.000 | 2.00 | 2.5000 | 7.50 |" in text
    assert "| there is no Liger here |" in text
    assert (tmp_path / "memory.png").stat().st_size > 10_000


@pytest.mark.slow
def test_each_row_is_measured_in_its_own_process(tmp_path, capsys):
    rows = "transformers,trl,fast,low,trl-liger"
    code = main([*DEMO, "--rows", rows, "--steps", "1", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert [row["key"] for row in written] == rows.split(",")
    for row in written[:-1]:
        assert not row["problem"], row
        assert row["peak_gb"] > 0 and row["seconds"] > 0
        assert len(row["losses"]) == 4  # three of them not timed
        assert row["losses"] == pytest.approx(written[0]["losses"], rel=0.01)
    assert "fast layers" in written[2]["plan"] and "1 x 4 photos" in written[2]["plan"]
    assert code == int(bool(written[-1]["problem"]))  # without Liger the last row says so
    assert "technique" in capsys.readouterr().out


@pytest.mark.slow
def test_a_7b_is_forecast_without_a_gpu(capsys):
    words = "--model_name_or_path random:7b --max_image_tokens 600 --use_cpu True --forecast 24"
    assert main([*words.split(), "--rows", "trl,fast,low,most"]) == 0
    out = capsys.readouterr().out
    assert "2 x 2 photos per step" in out and "28 keep activations" in out
    sizes = [float(line.partition("forecast ")[2].split()[0]) for line in out.splitlines()]
    trl, fast, low, most = sizes
    assert low < 4.6 < fast < 7.9 < most
    assert trl == pytest.approx(7.77, rel=0.05)  # measured


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
