"""Grouped math attention, the same on every machine, in few passes over the scores.

Replaces PyTorch's math kernel: fused kernels depend on the machine and each rounds its own way, and
the math kernel converts a mask to numbers in every layer and searches it for empty rows, ten passes
over the scores where four or, with a mask, six do. Keys and values are not copied per head (7 times
the cache in every layer of a 7B). The vision tower on a CPU takes PyTorch's flash kernel instead,
and with `--attention sdpa` the tower and the prefill do everywhere: 0.11 ms per photo and layer of
the tower instead of 0.49 (docs/benchmarks/stages-7b.json). Off with `--decoder generate`; equal by
test_attention.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig

GROUPED = "nutrition_vl_grouped"
# Without a mask, as in the vision tower: 1,200 patches take 17 ms of one core instead of 31 by a
# product per head (4 heads of 64, float32, Intel Xeon). All boxes of 123 photos are equal.
FLASH = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
# On a GPU cuDNN's comes first: 0.11 ms per photo and layer of a 7B's tower where flash takes 0.16.
CUDNN = [SDPBackend.CUDNN_ATTENTION, *FLASH]


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    flash: bool = False,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of query heads (photos, heads, tokens, width) that share keys in groups.

    The mask (photos, 1, tokens, keys) is True where a key is hidden. A group's heads count as one
    head of more tokens. Scores stay in the model's dtype, as in transformers' eager attention.
    Returns (photos, tokens, heads, width), as transformers' attention functions do.
    """
    photos, heads, tokens, width = query.shape
    shared = key.shape[1]
    prefill = attention_mask is not None and tokens == key.shape[2]  # its mask is causal
    if (attention_mask is None and query.is_cpu) or (flash and (attention_mask is None or prefill)):
        with sdpa_kernel(CUDNN if query.is_cuda and not prefill else FLASH, set_priority=True):
            output = scaled_dot_product_attention(
                query, key, value, scale=scaling, is_causal=prefill, enable_gqa=shared != heads
            )
        return output.transpose(1, 2), None
    packed = (query * scaling).reshape(photos, shared, heads // shared * tokens, width)
    scores = packed @ _rowwise(key).transpose(2, 3)
    if attention_mask is not None:
        scores.view(photos, heads, tokens, -1).masked_fill_(attention_mask, float("-inf"))
    output = scores.softmax(-1) @ _rowwise(value)
    return output.reshape(photos, heads, tokens, width).transpose(1, 2), None


@contextmanager
def grouped(*configs: PreTrainedConfig, flash: bool = False) -> Iterator[None]:
    """Makes the model parts with these configurations use `grouped_attention`; PyTorch's own
    attention uses the math kernel meanwhile."""
    AttentionInterface.register(GROUPED, partial(grouped_attention, flash=flash))
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = GROUPED
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for config, own in zip(configs, before, strict=True):
            config._attn_implementation = own


def _rowwise(part: Tensor) -> Tensor:
    """Each head with contiguous rows, as in the KV cache: products of strided heads take longer."""
    return part if part.stride(2) == part.shape[3] else part.contiguous()
