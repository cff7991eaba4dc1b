"""The Photo tab's runs: the latest one answers, Stop ends those before it and no later one."""

import shutil
from copy import deepcopy

import gradio as gr
import numpy as np
import pytest

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.photo import KEEP, PhotoTab
from nutrition_vl.page.queue import DetectionQueue
from nutrition_vl.page.visitor import AdapterChoices, Visit

EXAMPLES = DEMO / "examples"


@pytest.fixture
def tab(demo, tmp_path):
    queue = DetectionQueue(demo)
    with gr.Blocks():
        yield PhotoTab(queue, AdapterChoices(demo, tmp_path))
    queue.close()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two uploads."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    names = ["pack_1.jpg", "pack_2.jpg"]
    return [shutil.copy(EXAMPLES / name, tmp_path / name) for name in names]


def run(tab, visit, photo, clicked, names=("demo",)):
    """One start: an iterator over the tab's outputs."""
    return tab.show(str(photo), [*names], 0.4, 0, None, visit, clicked)


def test_the_latest_of_two_photos_is_answered_and_the_first_changes_nothing_more(tab, photos):
    visit = Visit()
    first = run(tab, visit, photos[0], 1)
    assert next(first)[0].startswith("Detecting")
    *_, last = run(tab, visit, photos[1], 2)
    assert last[3]["photo"] == "pack_2.jpg"
    assert list(first) == [KEEP]


def test_a_late_stop_ends_the_run_before_it_and_not_the_next(tab, photos):
    visit = Visit()
    first = run(tab, visit, photos[0], 1)
    next(first)
    visit.stop(2)
    second = run(tab, visit, photos[0], 3)
    visit.stop(2)  # again, late
    assert [outputs[0] for outputs in first] == ["Cancelled."]
    *_, last = second
    assert len(last[3]["answers"][0]["boxes"]) == 1


def test_a_stop_ends_a_run_that_still_waits(tab, photos):
    visit = Visit()
    visit.stop(2)
    assert [outputs[0] for outputs in run(tab, visit, photos[0], 1)] == ["Cancelled."]
    assert visit.photo.answers == {}  # no model ran


def test_a_photo_that_is_reported_twice_is_detected_once(tab, photos, monkeypatch):
    submitted = []
    submit = tab.queue.submit
    monkeypatch.setattr(
        tab.queue, "submit", lambda photo, name: submitted.append(name) or submit(photo, name)
    )
    visit = Visit()
    first, second = run(tab, visit, photos[0], 1), run(tab, visit, photos[0], 2)
    next(first)
    assert len(list(second)[-1][3]["answers"]) == 1
    assert list(first) == [KEEP]
    *_, both = run(tab, visit, photos[0], 3, ("demo", "none"))
    assert [one["adapter"] for one in both[3]["answers"]] == ["demo", "none"]
    assert submitted == ["demo", "none"]


def test_an_adapter_that_is_taken_away_does_not_come_back_with_the_threshold(tab, photos):
    visit = Visit()
    for clicked, names in enumerate((("demo", "none"), ("none",)), 1):
        list(run(tab, visit, photos[0], clicked, names))
    document = tab.redraw(0.9, 0, visit)[3]
    assert [one["adapter"] for one in document["answers"]] == ["none"]


def test_a_quarter_turn_turns_each_crop_clockwise_and_runs_nothing(tab, photos, monkeypatch):
    visit = Visit()
    *_, last = run(tab, visit, photos[0], 1)
    monkeypatch.setattr(tab.queue, "submit", None)
    turns = [tab.redraw(0.4, angle, visit)[4] for angle in (0, 90, 180, 270)]
    [upright] = turns[0]
    assert np.array_equal(upright, last[4][0])
    for quarters, [picture] in enumerate(turns):
        assert np.array_equal(picture, np.rot90(upright, -quarters))  # numpy turns the other way


def test_each_visitor_begins_with_an_empty_photo(tab, photos):
    visit = Visit()
    list(run(tab, visit, photos[0], 1))
    assert deepcopy(visit).photo.path == ""
