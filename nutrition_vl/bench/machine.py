"""The machine and the code that numbers come from."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nutrition_vl.files import git_commit

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


def _processor() -> str:
    """The processor's name, where Linux has it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
