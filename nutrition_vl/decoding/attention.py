"""Grouped math attention, the same on every machine, in few passes over the scores.

Replaces PyTorch's math kernel: fused kernels depend on the machine and each rounds its own way, and
the math kernel converts a mask to numbers in every layer and searches it for empty rows, ten passes
over the scores where four or, with a mask, six do. Keys and values are not copied per head (7 times
the cache in every layer of a 7B). Off with `--decoder generate`; equal by test_attention.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, PreTrainedConfig

from nutrition_vl.decoding.cpu_matmul import product

GROUPED = "nutrition_vl_grouped"
# Queries per product on a CPU, whose cache then holds their scores: attention of 1,200 patches
# takes 5 ms instead of 17 (4 heads of 64, 2 cores of an AMD EPYC).
ROWS = 300


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of query heads (photos, heads, tokens, width) that share keys in groups.

    The mask (photos, 1, tokens, keys) is True where a key is hidden. A group's heads count as one
    head of more tokens. Scores stay in the model's dtype, as in transformers' eager attention.
    Returns (photos, tokens, heads, width), as transformers' attention functions do.
    """
    photos, heads, tokens, width = query.shape
    shared = key.shape[1]
    packed = (query * scaling).reshape(photos, shared, heads // shared * tokens, width)
    if attention_mask is None and query.is_cpu:
        output = _by_heads(packed, key, value)
    else:
        scores = packed @ _rowwise(key).transpose(2, 3)
        if attention_mask is not None:
            scores.view(photos, heads, tokens, -1).masked_fill_(attention_mask, float("-inf"))
        output = scores.softmax(-1) @ _rowwise(value)
    return output.reshape(photos, heads, tokens, width).transpose(1, 2), None


@contextmanager
def math_attention(*configs: PreTrainedConfig) -> Iterator[None]:
    """Makes the model parts with these configurations use `grouped_attention`; PyTorch's own
    attention uses the math kernel meanwhile."""
    AttentionInterface.register(GROUPED, grouped_attention)
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = GROUPED
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for config, own in zip(configs, before, strict=True):
            config._attn_implementation = own


def _by_heads(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention without a mask, head by head."""
    heads = zip(*(part.flatten(0, 1) for part in (query, key, value)), strict=True)
    return torch.stack([_head(*head) for head in heads]).view_as(query)


def _head(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of one head (tokens, width), ROWS queries at a time."""
    key, value = key.contiguous(), value.T.contiguous()
    parts = [product(product(part, key).softmax(-1), value) for part in query.split(ROWS)]
    return torch.cat(parts)


def _rowwise(part: Tensor) -> Tensor:
    """Each head with contiguous rows, as in the KV cache: products of strided heads take longer."""
    return part if part.stride(2) == part.shape[3] else part.contiguous()
