"""Two commands on one bucket, on a real S3 server."""

import threading
import time

import pytest

from nutrition_vl.batch import claim, places
from nutrition_vl.batch.claim import Claim
from nutrition_vl.batch.results import Results

OUT = "s3://packs/out"


@pytest.fixture(autouse=True)
def quick(bucket, monkeypatch):
    """A bucket whose claims die within a second."""
    monkeypatch.setattr(claim, "BEAT", 0.1)
    monkeypatch.setattr(claim, "DEAD", 1)


def test_a_second_command_on_a_bucket_is_refused_until_the_first_has_ended():
    first, second = Results(OUT), Results(OUT)
    with first.only_command():
        first.begin({"threshold": 0.4}, {})
        with (
            pytest.raises(ValueError, match=rf"^another command is writing to {OUT}: let it end"),
            second.only_command(),
        ):
            pass
        first.begin({"threshold": 0.4}, {})
    with second.only_command():
        second.begin({"threshold": 0.4}, {})
    assert places.names(OUT) == ["manifest.json"]


def test_of_many_commands_that_start_at_once_one_gets_the_bucket(monkeypatch):
    monkeypatch.setattr(claim, "DEAD", 60)  # on a busy machine a sign of life may be late
    ready, winners, refused = threading.Barrier(4), [], []

    def command():
        ready.wait()
        try:
            with Claim(OUT).held():
                winners.append(1)
                end = time.monotonic() + 50
                while len(refused) < 3 and time.monotonic() < end:
                    time.sleep(0.1)
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=command) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(winners), len(refused)) == (1, 3), refused


def test_a_killed_command_s_bucket_is_taken_over_and_a_paused_one_writes_no_more():
    paused = Results(OUT)
    paused.claim = Claim(OUT)
    paused.claim._take()  # and no sign of it follows
    paused.begin({"threshold": 0.4}, {})
    start = time.monotonic()
    with Results(OUT).only_command():
        assert 1 < time.monotonic() - start < 10
        before = places.names(OUT)
        with pytest.raises(ValueError, match=f"^another command has taken {OUT} over"):
            paused._write("part-1.parquet", b"")
        assert places.names(OUT) == before == [".claim", "manifest.json"]
