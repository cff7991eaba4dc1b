"""How photos flow: in order, ahead of the model but not too far, in batches that fit."""

import threading
import time

import pytest
import torch

from nutrition_vl.running import batching
from nutrition_vl.running.batching import prefetch, run_in_halves


def test_what_is_made_ahead_comes_in_order():
    def make(number):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number, threading.current_thread()

    made = list(prefetch(make, range(20), ahead=6))
    assert [number for number, _ in made] == list(range(20))
    assert threading.main_thread() not in {thread for _, thread in made}


def test_no_more_is_taken_than_asked_for_and_ahead():
    taken = []
    items = (taken.append(number) or number for number in range(100))
    made = prefetch(lambda number: number, items, ahead=4)
    assert [next(made), next(made)] == [0, 1]
    assert len(taken) == 6
    made.close()


def test_nothing_in_nothing_out():
    assert list(prefetch(lambda item: item, [], ahead=4)) == []


def test_a_single_item_needs_no_thread():
    assert list(prefetch(lambda _: threading.current_thread(), "a", ahead=4)) == [
        threading.main_thread()
    ]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (3, 3), (8, 8), (64, 8)])
def test_threads_are_as_many_as_cores_up_to_eight(cores, threads, monkeypatch):
    monkeypatch.setattr(batching, "usable_cores", lambda: cores)
    together = threading.Barrier(threads, timeout=20)

    def make(_):
        together.wait()
        return threading.current_thread()

    assert len(set(prefetch(make, range(24), ahead=24))) == threads


@pytest.mark.parametrize(
    ("fits", "sizes"), [(8, [7]), (4, [7, 3, 4]), (1, [7, 3, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1])]
)
def test_what_does_not_fit_is_halved_and_stays_in_order(fits, sizes):
    tried, freed = [], []

    def work(items):
        tried.append(len(items))
        if len(items) > fits:
            raise torch.OutOfMemoryError
        return [item * 10 for item in items]

    assert run_in_halves(work, range(7), lambda: freed.append(1)) == [
        item * 10 for item in range(7)
    ]
    assert tried == sizes
    assert len(freed) == sum(size > fits for size in sizes)
