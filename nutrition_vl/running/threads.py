"""Limits the threads of numerical libraries to the cores at hand, and how long they spin.

OpenMP's threads spin while they wait for each other. Next to other busy processes, the thread that
all others wait for has no core, and the others burn theirs: one photo then took 0.66 to 3.78 s on
two cores, and 0.20 s on calm ones. PyTorch has no setting for it; libgomp reads its environment
when it is loaded, so `share_cores` comes before the first import of torch.
"""

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# libgomp spins 300,000 turns by itself: 17 ms at 2.5 GHz where `pause` takes 140 cycles (Skylake
# and later, Intel's optimization manual), 5 ms where it takes 40. Next to two busy processes on two
# cores of a Xeon, a photo takes 0.55 s with 3,000 turns, 0.44 with 1,000, 0.42 without any; on calm
# cores 0.26, 0.30 and 0.29 s (medians of 18 photos, means of two runs).
GOMP_SPINCOUNT = "1000"
KMP_BLOCKTIME = "1"  # milliseconds, LLVM's and Intel's OpenMP; 200 by default
CHOSEN_BY_USER = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets OpenMP's spinning and number of threads, but for the user's own settings."""
    if not CHOSEN_BY_USER & environment.keys():
        environment.update(GOMP_SPINCOUNT=GOMP_SPINCOUNT, KMP_BLOCKTIME=KMP_BLOCKTIME)
    cores = usable_cores()
    if cores < _affinity():  # which OpenMP keeps to by itself
        environment.setdefault("OMP_NUM_THREADS", str(cores))


def usable_cores(cgroups: Path = CGROUPS) -> int:
    """The cores that this process may run on, or fewer by its container's quota."""
    return min(_affinity(), cgroup_cores(cgroups) or _affinity())


def cgroup_cores(cgroups: Path = CGROUPS) -> int | None:
    """The cores that a container's CPU quota pays for, rounded up; None without a quota."""
    version_2, version_1 = cgroups / "cpu.max", cgroups / "cpu" / "cpu.cfs_quota_us"
    if version_2.is_file():
        quota, period = version_2.read_text().split()
    elif version_1.is_file():
        quota = version_1.read_text().strip()
        period = version_1.with_name("cpu.cfs_period_us").read_text()
    else:
        return None
    return None if quota in ("max", "-1") else math.ceil(int(quota) / int(period))


def _affinity() -> int:
    # Linux alone has the affinity; os.process_cpu_count comes with Python 3.13.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
