"""Attention written out, the same on every machine, in as few passes over the scores as it takes.

Which of PyTorch's fused kernels runs depends on the machine, and each rounds its own way. Its math
kernel, which does not, turns a mask into numbers in every layer and looks for rows without any:
ten passes over the scores where four or, with a mask, six do.
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
# Queries of a head at once on a CPU, whose cache then holds their scores: attention of 1,200
# patches takes 5 ms instead of 17 (4 heads of 64, 2 cores of an AMD EPYC).
ROWS = 300


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of query heads (photos, heads, tokens, width) that share keys in groups; the mask
    (photos, 1, tokens, keys) is True where a token must not look.

    A group's heads are read as one head of more tokens, so that keys and values are not copied for
    each: seven times the cache in every layer of a 7B. Scores stay in the type of the model, as in
    transformers' eager attention.
    """
    photos, heads, tokens, width = query.shape
    shared = key.shape[1]
    packed = (query * scaling).reshape(photos, shared, heads // shared * tokens, width)
    if attention_mask is None and query.is_cpu:
        seen = _by_heads(packed, key, value)
    else:
        scores = packed @ _rowwise(key).transpose(2, 3)
        if attention_mask is not None:
            scores.view(photos, heads, tokens, -1).masked_fill_(attention_mask, float("-inf"))
        seen = scores.softmax(-1) @ _rowwise(value)
    return seen.reshape(photos, heads, tokens, width).transpose(1, 2), None


@contextmanager
def attending(*configs: PreTrainedConfig) -> Iterator[None]:
    """Lets the parts of a model with these configurations `attend`; whatever else asks PyTorch for
    attention meanwhile gets its math kernel."""
    AttentionInterface.register(GROUPED, attend)
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
    """Attention without a mask, one head after the other."""
    heads = zip(*(part.flatten(0, 1) for part in (query, key, value)), strict=True)
    return torch.stack([_head(*head) for head in heads]).view_as(query)


def _head(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of one head (tokens, width), some queries after the other."""
    key, value = key.contiguous(), value.T.contiguous()
    parts = [product(product(part, key).softmax(-1), value) for part in query.split(ROWS)]
    return torch.cat(parts)


def _rowwise(part: Tensor) -> Tensor:
    """Each head's rows one behind the other, as they are in slots, whatever part of these is seen:
    products of strided heads take longer."""
    return part if part.stride(2) == part.shape[3] else part.contiguous()
