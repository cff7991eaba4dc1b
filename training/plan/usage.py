"""Reads how much memory is free and in use: PyTorch's on a GPU, the process's on a CPU."""

import resource
import sys

import psutil
import torch

GIB = 2**30


def peak_memory(device: torch.device) -> int:
    """Returns the most bytes in use so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_now(device: torch.device) -> dict[str, int]:
    """Returns the bytes in use, and those with PyTorch's reserve, under their names in the log."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device)
        return {"allocated_gib": torch.cuda.memory_allocated(device), "reserved_gib": reserved}
    resident = psutil.Process().memory_info().rss
    return {"allocated_gib": resident, "reserved_gib": resident}


def free_memory(device: torch.device) -> int:
    """Returns the bytes that are free on a GPU, or available to a process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def peak_text(forecast: float, device: torch.device) -> str:
    """The peak so far in words; on a GPU with its forecast, for a CPU's peak includes Python."""
    peak = f"peak {peak_memory(device) / GIB:.2f} GiB"
    return f"{peak}, forecast {forecast / GIB:.2f}" if device.type == "cuda" else peak
