"""Threads keep to the cores at hand and spin for a bounded time, unless the user says otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nutrition_vl.running.threads import cgroup_cores, share_cores, usable_cores

ROOT = Path(__file__).parents[3]


def test_spinning_is_bounded():
    environment = {}
    share_cores(environment)
    assert environment.items() >= {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}.items()


@pytest.mark.parametrize(
    "own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "200"}]
)
def test_the_users_waiting_stays(own):
    environment = {**own, "OMP_NUM_THREADS": "1"}
    share_cores(environment)
    assert environment == {**own, "OMP_NUM_THREADS": "1"}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_is_read_from_its_cgroup(files, cores, tmp_path):
    write(tmp_path, files)
    assert cgroup_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("max", None), ("99900000", None)])
def test_a_process_may_use_its_affinity_or_fewer_cores_by_quota(quota, cores, tmp_path):
    write(tmp_path, {"cpu.max": f"{quota} 100000\n"})
    assert usable_cores(tmp_path) == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.slow
def test_openmp_takes_the_setting_before_torch_is_loaded():
    code = """
import sys
from nutrition_vl.cli import guarded
def run():
    assert "torch" not in sys.modules
    import torch
    return torch.get_num_threads()
sys.exit(guarded("test", run))
"""
    environment = {key: os.environ[key] for key in os.environ.keys() - {"OMP_NUM_THREADS"}}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"}
    for name in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        environment.pop(name, None)
    order = [sys.executable, "-c", code]
    done = subprocess.run(order, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == min(len(os.sched_getaffinity(0)), cgroup_cores() or 99)
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
