"""Static KV cache: slot index == sequence position, so batches need no left padding.

Replaces transformers' DynamicCache, which grows by copying, and its StaticCache, which writes all
photos of a batch to the same slots. Whatever lies behind a photo's last token is overwritten before
it is read: padding and rejected draft tokens need no clean-up. Off with `--decoder generate`; equal
by tests/nutrition_vl/decoding/test_decoder.py.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig


class StaticKVCache:
    """Keys and values of all layers (layers, 2, photos, heads, length, width).

    `slots` (photos, tokens) says where the tokens of the current forward pass are written, `extent`
    how many slots attention reads. The decoder layers call `update`.
    """

    def __init__(self, config: PreTrainedConfig, photos: int, length: int, like: Tensor) -> None:
        heads = config.num_key_value_heads
        width = config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, 2, photos, heads, length, width)
        self.content = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.photos, self.length = photos, length
        self.slots = torch.empty(0)
        self.extent = 0

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes keys and values (photos, heads, tokens, width) of a layer to `slots`; returns all
        up to `extent` (photos, heads, extent, width)."""
        cache = self.content[layer, :, : len(keys)]
        slots = self.slots[:, None, :, None].expand_as(keys)
        cache[0].scatter_(2, slots, keys)
        cache[1].scatter_(2, slots, values)
        return cache[0, :, :, : self.extent], cache[1, :, :, : self.extent]

    def get_seq_length(self) -> int:
        """Required by transformers, unused where positions and mask are given."""
        return 0
