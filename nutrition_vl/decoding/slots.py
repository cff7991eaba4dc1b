"""Keys and values of a batch in slots of fixed place, and the attention that reads them.

Every photo fills its own slots from 0 up, so that a token's slot and its place in the sequence are
the same whatever stands beside it in the batch. What lies past a photo's last token is never read
before it is written over: padding, and words looked ahead to in vain, cost nothing to take back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import cuda
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig

GROUPED = "nutrition_vl_grouped"


class Slots:
    """The cache that the decoder layers write to and read from; transformers asks for `update`."""

    def __init__(self, config: PreTrainedConfig, photos: int, length: int, like: Tensor) -> None:
        heads = config.num_key_value_heads
        width = config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, 2, photos, heads, length, width)
        self.content = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.photos, self.length = photos, length
        self.where = torch.empty(0)  # the slots of the tokens under way (photos, tokens)
        self.extent = 0  # how many slots are looked at

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes to the slots `where`; all up to `extent` (photos, heads, extent, width)."""
        kept = self.content[layer, :, : len(keys)]
        places = self.where[:, None, :, None].expand_as(keys)
        kept[0].scatter_(2, places, keys)
        kept[1].scatter_(2, places, values)
        return kept[0, :, :, : self.extent], kept[1, :, :, : self.extent]

    def get_seq_length(self) -> int:
        """For transformers, which makes no use of it where positions and mask are given."""
        return 0


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of query heads (photos, heads, tokens, width) that share keys in groups.

    A group's heads are read as one head of more tokens, so that keys and values are not copied for
    each: seven times the cache in every layer of a 7B.
    """
    photos, heads, tokens, width = query.shape
    shared = key.shape[1]
    packed = query.reshape(photos, shared, heads // shared * tokens, width)
    mask = attention_mask.repeat(1, 1, heads // shared, 1)
    seen = scaled_dot_product_attention(packed, key, value, attn_mask=mask, scale=scaling)
    return seen.reshape(photos, heads, tokens, width).transpose(1, 2), None


@contextmanager
def slotted(config: PreTrainedConfig) -> Iterator[None]:
    """Lets the language model of this configuration `attend`, by the math kernel alone.

    Which fused kernel would run depends on the machine, and each rounds its own way. Scores stay in
    the type of the model, as in transformers' eager attention: in float32 the vision tower of a 7B
    takes 81 instead of 50 ms on an H200.
    """
    AttentionInterface.register(GROUPED, attend)
    before, wide = config._attn_implementation, cuda.fp16_bf16_reduction_math_sdp_allowed()
    config._attn_implementation = GROUPED
    cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        config._attn_implementation = before
        cuda.allow_fp16_bf16_reduction_math_sdp(wide)
