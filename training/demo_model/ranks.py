"""One process per GPU: the same step on another part of the batch, gradients averaged.

`torchrun --nproc-per-node 2 -m training.demo_model ...` takes half the time of one GPU for the
same steps; started without torchrun there is one rank, and nothing here does anything.
"""

import os
from collections.abc import Iterable
from datetime import timedelta

import torch
from torch import distributed, nn

WAIT = timedelta(minutes=9)  # the others, while the first rank draws the pool


def join(device: str) -> tuple[int, int]:
    """Joins the process group that torchrun describes; returns this rank and their number."""
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if count > 1:
        use_own_gpu()
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=WAIT)
    return rank, count


def use_own_gpu() -> None:
    """Makes "cuda" this rank's GPU, in the calling thread; every thread starts with the first."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))


def leave() -> None:
    """Leaves the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def wait() -> None:
    """Until every rank has come here."""
    if distributed.is_initialized():
        agree(0.0)


def agree(seconds: float) -> float:
    """The mean over ranks, so that all take the same decision; on the CPU, without a GPU sync."""
    if not distributed.is_initialized():
        return seconds
    value = torch.tensor(seconds, dtype=torch.float64)
    distributed.all_reduce(value)
    return float(value) / distributed.get_world_size()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over ranks, in one message."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
