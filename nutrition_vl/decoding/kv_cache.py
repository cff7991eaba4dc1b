"""Keys and values of a batch in slots of fixed place.

Every photo fills its own slots from 0 up, so that a token's slot and its place in the sequence are
the same whatever stands beside it in the batch. What lies past a photo's last token is never read
before it is written over: padding, and words looked ahead to in vain, cost nothing to take back.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig


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
