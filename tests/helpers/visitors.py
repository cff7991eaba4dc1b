"""Clients of a page; a crowd of them lives in a process of its own, as those of a page do."""

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
    """The answers to turns (visitor's number, photo, adapter), so many visitors at once."""
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda turn: detect(visitor(address, turn[0]), *turn[1:]), turns))
