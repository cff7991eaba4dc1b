"""Chooses device, dtype, attention and optimiser for this machine, once, with the reason."""

import os
from dataclasses import dataclass

import torch

from nutrition_vl.models.names import ATTENTIONS, DEVICES


@dataclass(frozen=True)
class Runtime:
    """How to run here, and the `reason`; `optimizer` is None where training is impossible."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    optimizer: str | None
    reason: str


def use_expandable_segments() -> None:
    """Enables PyTorch's expandable segments, unless the environment configures the allocator.

    A 7B's training step in CUDA graphs then reserved 8.1 GB of an H100 instead of 10.1, at equal
    speed (docs/benchmarks/low-memory.json).
    """
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")


def detect_runtime(device: str = "auto", attention: str = "sdpa") -> Runtime:
    """The best settings for this machine and these options; ValueError for impossible ones."""
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: use one of {', '.join(DEVICES)}")
    if attention not in ATTENTIONS:
        raise ValueError(f"unknown attention {attention!r}: use one of {', '.join(ATTENTIONS)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA GPU that PyTorch can use here: use --device cpu or auto")
    if device == "cpu" or not torch.cuda.is_available():
        return _on_cpu(attention, "as asked" if device == "cpu" else "no CUDA GPU found")
    return _on_cuda(attention)


def _on_cpu(attention: str, why: str) -> Runtime:
    if attention == "flash_attention_2":
        raise ValueError("flash_attention_2 needs a CUDA GPU: use --attention sdpa on the CPU")
    cpu = torch.device("cpu")
    return Runtime(cpu, torch.float32, attention, "adamw_torch", f"float32 on the CPU ({why})")


def _on_cuda(attention: str) -> Runtime:
    # torchrun and accelerate give each process of a machine its own LOCAL_RANK.
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    major, minor = torch.cuda.get_device_capability(device)
    gpu = f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}"
    if major >= 8:
        reason = f"bfloat16 on {gpu}"
        return Runtime(device, torch.bfloat16, attention, "paged_adamw_8bit", reason)
    if attention == "flash_attention_2":
        raise ValueError(f"flash_attention_2 needs compute capability 8.0, found {gpu}")
    # TRL casts the adapters of quantised models to bfloat16, which these GPUs do not have.
    reason = f"float16 on {gpu}: detection only, training needs bfloat16 (8.0 or newer)"
    return Runtime(device, torch.float16, attention, None, reason)
