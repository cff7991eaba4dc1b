"""Looks at the machine once and says what it chose and why: device, dtype, attention, optimiser."""

import os
from dataclasses import dataclass

import torch

DEVICES = ("auto", "cpu", "cuda")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")


@dataclass(frozen=True)
class Runtime:
    """How to run here; `optimizer` is None where training is impossible, `reason` says why so."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    optimizer: str | None
    reason: str


def grow_blocks() -> None:
    """Has PyTorch's GPU allocator grow its blocks instead of keeping odd ones, unless the
    environment sets it up: a 7B's training step in graphs then reserved 8.1 GB of an H100 and not
    10.1, and was no slower (docs/benchmarks/low-memory.json).
    """
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")


def detect_runtime(device: str = "auto", attention: str = "sdpa") -> Runtime:
    """The best this machine offers, or what was asked for; ValueError where it cannot be had."""
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
    found = f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}"
    if major >= 8:
        reason = f"bfloat16 on {found}"
        return Runtime(device, torch.bfloat16, attention, "paged_adamw_8bit", reason)
    if attention == "flash_attention_2":
        raise ValueError(f"flash_attention_2 needs compute capability 8.0, found {found}")
    # TRL casts the adapters of quantised models to bfloat16, which these GPUs do not have.
    reason = f"float16 on {found}: detection only, training needs bfloat16 (8.0 or newer)"
    return Runtime(device, torch.float16, attention, None, reason)
