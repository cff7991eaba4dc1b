"""Clients of a page; a crowd of them lives in a process of its own, as those of a page do."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from gradio_client import Client, handle_file


@cache
def visitor(address, number=0):
    """A client, each number another, that reads no certificates, which the page has no use for, at
    each of its calls."""
    return Client(address, verbose=False, ssl_verify=False)


def detect(client, path, adapter="demo", threshold=0.0):
    """The answer without the time it took, which is never the same."""
    *_, answer = client.predict(handle_file(path), adapter, threshold, api_name="/detect")
    assert answer.pop("seconds") > 0
    return answer


def crowd(address, turns, size):
    """The answers to turns (visitor's number, photo, adapter), so many visitors at once, and the
    seconds that each of them waited."""

    def ask(turn):
        client, start = visitor(address, turn[0]), time.perf_counter()
        return detect(client, *turn[1:]), time.perf_counter() - start

    with ThreadPoolExecutor(size) as pool:
        return list(zip(*pool.map(ask, turns), strict=True))
