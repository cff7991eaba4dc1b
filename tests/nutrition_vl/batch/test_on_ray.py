"""The batch command on real Ray clusters, whose drivers, workers and nodes are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from nutrition_vl.batch.results import Results
from tests.helpers.packs import comparable, draw, streamed

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
# BATCH_PHOTOS=1000 BATCH_KILLS=10 runs the long version: 14 minutes on two cores.
PHOTOS = int(os.environ.get("BATCH_PHOTOS", "36"))
KILLS = int(os.environ.get("BATCH_KILLS", "1"))
# Ray gives workers a niceness of 15, which starves them next to other processes.
CALM = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
VISIBLE = "CUDA_VISIBLE_DEVICES"
DEADLY = {"PYTHONPATH": str(ROOT / "tests" / "helpers" / "broken_decoder")}


def batch(*words, **environment):
    command = [sys.executable, "-m", "nutrition_vl.batch", *map(str, words), "--batch-size", "4"]
    env = os.environ | CALM | environment
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True, stderr=subprocess.PIPE)


def finished(process):
    """The exit code and stderr of a process that ends within ten minutes."""
    _, stderr = process.communicate(timeout=600 + PHOTOS)
    return process.returncode, stderr


class Cluster:
    """The two nodes of two_nodes.py."""

    def __init__(self, **options):
        command = [sys.executable, "-m", "tests.helpers.two_nodes", json.dumps(options)]
        self.mark = {"CLUSTER": uuid4().hex}  # which its workers inherit
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | CALM | DEADLY | self.mark, text=True, **pipes
        )
        self.address, self.node = json.loads(self.process.stdout.readline())

    def replace_node(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.address, self.node = json.loads(self.process.stdout.readline())

    def workers(self):
        """Every answering or preparing worker that is alive, of this cluster alone."""
        return [one for one in psutil.process_iter(["cmdline"]) if self.is_worker(one)]

    def is_worker(self, process):
        words = process.info["cmdline"] or [""]
        if not words[0].startswith("ray::MapWorker(MapBatches("):
            return False
        try:
            return self.mark.items() <= process.environ().items()
        except psutil.NoSuchProcess:
            return False


@pytest.fixture
def cluster():
    nodes = Cluster()
    yield nodes
    nodes.process.communicate()
    assert not nodes.workers()


@pytest.fixture
def gpus():
    """Two nodes with a GPU each, which Ray counts and which no PyTorch finds."""
    nodes = Cluster(num_gpus=1)
    yield nodes
    nodes.process.communicate()


def devices(nodes):
    """The CUDA_VISIBLE_DEVICES of the processes that hold the model, which their workers set."""
    holders = [one for one in nodes.workers() if "Answer" in one.info["cmdline"][0]]
    try:
        return [child.environ()[VISIBLE] for one in holders for child in one.children()]
    except psutil.NoSuchProcess:
        return []


def test_answering_workers_get_a_gpu_each_and_never_take_the_cpu_for_one(gpus, small, tmp_path):
    photos, visible = draw(tmp_path / "photos", 7), []
    words = (photos, "--out", tmp_path / "out", "--checkpoint", small, "--address", gpus.address)
    code, stderr = finished(batch(*words))
    assert code == 2 and "PyTorch has no CUDA GPU on" in stderr.splitlines()[-1], stderr
    running = batch(*words, "--device", "cpu", "--gpus-per-worker", "1")
    wait_for(lambda: visible.append(devices(gpus)) or visible[-1] == ["0", "0"], running)
    code, stderr = finished(running)
    assert code == 1 and "8 photos" in stderr, stderr
    assert visible[-1] == ["0", "0"]
    expected = comparable([*streamed(small, photos).values()])
    assert comparable(Results(str(tmp_path / "out")).rows()) == expected


def parts(folder):
    return len(list(folder.glob("part-*.parquet")))


def wait_for(condition, process, seconds=300):
    """Waits until the condition holds or the process has ended."""
    end = time.monotonic() + seconds
    while process.poll() is None and not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_kills_lose_no_photo_and_double_none(cluster, small, tmp_path):
    photos = draw(tmp_path / "photos", PHOTOS, max(1, PHOTOS // 50), max(1, PHOTOS // 500))
    out, chance = tmp_path / "out", random.Random(0)
    words = (photos, "--out", out, "--checkpoint", small, "--address")
    killed = Counter()
    for _ in range(KILLS):
        driver, before = batch(*words, cluster.address, **DEADLY), parts(out)
        wait_for(lambda at=before: parts(out) > at, driver)
        victims = ["worker", "node", "driver"]
        for victim in chance.sample(victims[:2], 2) + victims[2:]:
            time.sleep(chance.uniform(0.5, 4))
            if driver.poll() is not None:
                break
            killed[victim] += 1
            if victim == "node":
                os.kill(cluster.node, signal.SIGKILL)
            elif victim == "driver":
                driver.kill()
            elif workers := cluster.workers():
                chance.choice(workers).kill()
        driver.communicate()
        cluster.replace_node()
    assert killed["worker"] and killed["node"]
    code, stderr = finished(batch(*words, cluster.address, **DEADLY))
    assert code == 1 and f"{out}: {len(list(photos.iterdir()))} photos" in stderr, stderr
    rows = Results(str(out)).rows()
    expected = streamed(small, photos)
    for name in expected:
        if "deadly" in name:
            error = f"{name} ended its worker twice: leave it out, or save it again"
            expected[name] = {"photo": name, "error": error}
    assert comparable(rows) == comparable([*expected.values()])


def test_a_bucket_is_source_and_target(bucket, small, tmp_path):
    photos = draw(tmp_path / "photos", 3)
    bucket.put(str(photos), "packs/", recursive=True)
    words = ("s3://packs/photos", "--out", "s3://packs/out", "--crops", "s3://packs/crops")
    code, stderr = finished(batch(*words, "--checkpoint", small))
    assert code == 1, stderr
    assert "s3://packs/out: 4 photos" in stderr
    expected = comparable([*streamed(small, photos).values()])
    for one in expected:
        one["photo"] = one["photo"].replace(str(tmp_path), "s3://packs")
        if "error" in one:
            one["error"] = one["error"].replace(str(tmp_path), "s3://packs")
    assert comparable(Results("s3://packs/out").rows()) == expected
    boxes = sum(len(one.get("boxes", [])) for one in expected)
    assert len(bucket.find("packs/crops")) == boxes > 0
    assert bucket.exists("packs/out/_SUCCESS")
    started = time.monotonic()
    code, stderr = finished(batch(*words, "--checkpoint", small))
    assert code == 1 and "4 were there before" in stderr
    assert time.monotonic() - started < 15


def test_a_bucket_or_an_endpoint_that_is_not_there_is_one_sentence(bucket, monkeypatch):
    code, stderr = finished(batch("s3://nowhere/x", "--out", "s3://packs/o"))
    assert (code, stderr) == (
        2,
        "nutrition_vl.batch: there is no s3://nowhere/x: check the name\n",
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, stderr = finished(batch("s3://packs/x", "--out", "s3://packs/o", AWS_MAX_ATTEMPTS="1"))
    assert code == 2
    assert stderr.startswith("nutrition_vl.batch: s3://packs/x cannot be opened: Could not connect")
    assert stderr.count("\n") == 1
