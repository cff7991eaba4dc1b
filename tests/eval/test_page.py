"""The Evaluate tab: one evaluation at a time, ended by Stop while it waits and while it runs."""

import gradio as gr
import pytest

from eval.page import STOPPED, EvaluateTab
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.visitor import AdapterChoices, Turn


@pytest.fixture
def tab(demo, tmp_path):
    """A tab over the examples, split examples."""
    with gr.Blocks():
        return EvaluateTab(tmp_path, DEMO, AdapterChoices(demo, tmp_path))


def run(tab, turn, clicked):
    """The lines of one start."""
    return (outputs[0] for outputs in tab.run([], "examples", "examples", turn, clicked))


def test_a_second_evaluation_waits_and_stop_ends_it(tab):
    turn = Turn()
    tab.lock.acquire()  # another visitor's evaluation
    lines = run(tab, turn, 1)
    assert next(lines) == "<p>Waiting for another evaluation…</p>"
    turn.stop(2)
    assert list(lines) == [STOPPED]
    tab.lock.release()


@pytest.mark.slow
def test_stop_ends_the_command_and_the_next_start_runs(tab):
    turn = Turn()
    lines = run(tab, turn, 1)
    assert next(lines) == "<p>Loading…</p>"
    turn.stop(2)
    assert list(lines) == [STOPPED]
    assert not tab.lock.locked()
    later = run(tab, turn, 3)
    assert next(later) == "<p>Loading…</p>"
    turn.stop(4)
    assert list(later) == [STOPPED]


def test_a_source_elsewhere_is_refused_in_a_sentence(tab):
    [outputs] = tab.run([], "../demo", "val", Turn(), 1)
    assert "choose labelled photos in" in outputs[0]
