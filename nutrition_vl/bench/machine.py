"""The machine and the code that numbers come from."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nutrition_vl.files import git_commit
from nutrition_vl.running.threads import CGROUPS, cgroup_cores

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")


def machine(device: "torch.device") -> dict[str, Any]:
    """Hardware, versions and commit."""
    import torch

    cuda = device.type == "cuda"
    return {
        "hardware": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": git_commit(),
    }


def _processor(cpuinfo: Path = Path("/proc/cpuinfo"), cgroups: Path = CGROUPS) -> str:
    """The cores at hand, of which a container has fewer than its machine, and their name."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    if not names:
        return platform.processor()
    cores = len(os.sched_getaffinity(0))
    return f"{min(cores, cgroup_cores(cgroups) or cores)} x {names[0]}"
