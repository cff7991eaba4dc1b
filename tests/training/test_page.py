"""The Runs tab: what files of a run become on the page."""

import json
import shutil

import gradio as gr
import pytest

from nutrition_vl.files import write_jsonl
from nutrition_vl.models.checkpoints import CARD, DEMO
from training.page import METRICS, VALIDATION, RunsTab


@pytest.fixture
def run(tmp_path):
    """A run in progress with one checkpoint and three validations."""
    folder = tmp_path / "qlora"
    shutil.copytree(DEMO / "adapter", folder / "checkpoint-20")
    write_jsonl(folder / METRICS, [{"step": n, "loss": 1 / n, "peak_gib": n} for n in (10, 20, 30)])
    write_jsonl(folder / VALIDATION, [{"step": n, "mean_iou": n / 40} for n in (0, 10, 20)])
    return folder


@pytest.fixture
def tab(run):
    with gr.Blocks():
        return RunsTab(run.parent)


def points(figure):
    """The points of each curve."""
    return [line.get_xydata().tolist() for axes in figure.axes for line in axes.get_lines()]


def test_curves_and_card_are_those_of_the_files(tab, run):
    rows, choice, figure, card = tab.refresh(None)
    assert rows[0][:5] == ["qlora", "running", 30, 1 / 30, 30]
    assert choice.value == "qlora"
    assert points(figure) == [
        [[10, 1 / 10], [20, 1 / 20], [30, 1 / 30]],
        [[0, 0], [10, 0.25], [20, 0.5]],
    ]
    assert card == json.loads((run / "checkpoint-20" / CARD).read_text())


def test_curves_follow_a_run_and_a_new_run_comes_first(tab, run):
    tab.refresh("qlora")
    with (run / METRICS).open("a") as file:
        file.write(json.dumps({"step": 40, "loss": 0.5}) + "\n")
    assert points(tab.details("qlora")[0])[0][-1] == [40, 0.5]
    (run.parent / "next").mkdir()
    write_jsonl(run.parent / "next" / METRICS, [{"step": 1, "loss": 2.0}])
    rows, choice, figure, card = tab.refresh("qlora")
    assert [row[0] for row in rows] == ["next", "qlora"]
    assert choice.value == "qlora"  # the chosen one stays
    figure, card = tab.details("next")
    assert points(figure) == [[[1, 2]]]
    assert figure.axes[1].texts[0].get_text() == "no validation yet"
    assert card == {}
