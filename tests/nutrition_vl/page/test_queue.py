"""The queue behind the page, on the embedded model."""

import time

import pytest
from PIL import Image

from nutrition_vl.page.queue import IN_A_ROW, DetectionQueue


@pytest.fixture
def queue(demo):
    queue = DetectionQueue(demo)
    yield queue
    queue.close()


@pytest.fixture
def paused(queue, monkeypatch):
    """The queue with nobody at work, so that the order of its batches can be read."""
    queue.close()
    time.sleep(0.05)
    queue._open = True
    return queue


def test_an_answer_is_the_detectors(queue, demo, photo):
    alone = demo.detect([photo], adapter="demo")[0].record(photo.size)
    answer = queue.submit(photo, "demo").result(60).record(photo.size)
    assert answer["boxes"] == alone["boxes"]


def test_single_photos_pass_a_long_job_that_does_not_starve(paused):
    photo = Image.new("RGB", (8, 8))
    for _ in range(6):
        paused.submit(photo, "demo", background=True)
    for _ in range(2 * IN_A_ROW * paused.batch_size):
        paused.submit(photo, "demo")
    kinds = [paused._next_batch()[0].background for _ in range(IN_A_ROW + 2)]
    assert kinds == [False] * IN_A_ROW + [True, False]


def test_a_batch_has_one_adapter(paused):
    photo = Image.new("RGB", (8, 8))
    for name in ("demo", "none", "demo"):
        paused.submit(photo, name)
    assert [request.adapter for request in paused._next_batch()] == ["demo", "demo"]
    assert [request.adapter for request in paused._next_batch()] == ["none"]


def test_what_was_cancelled_is_not_looked_at(paused, demo, photo, monkeypatch):
    looked = []
    monkeypatch.setattr(paused, "_detect", looked.extend)
    paused.submit(photo, "demo").cancel()
    kept = paused.submit(photo, "none")
    for _ in range(2):
        batch = [one for one in paused._next_batch() if one.answer.set_running_or_notify_cancel()]
        if batch:
            paused._detect(batch)
    assert [request.answer for request in looked] == [kept]


def test_a_missing_adapter_is_that_photos_error_and_not_the_queues(queue, photo):
    with pytest.raises(FileNotFoundError, match="there is no checkpoint nowhere"):
        queue.submit(photo, "nowhere").result(60)
    assert queue.submit(photo, "demo").result(60)
