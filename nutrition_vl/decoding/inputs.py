"""A photo as the model is asked about it: the words' tokens, the photo's patches, their places."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from transformers.vision_utils import get_vision_position_ids

from nutrition_vl import prompts
from nutrition_vl.models.load import budget_of


@dataclass(frozen=True)
class Question:
    """The prompt about a photo, on the CPU: token `ids` and `types` (1 where the photo is), their
    rotary `positions` (3, tokens), `pixels` (patches, values) in the model's dtype, their `places`
    in the photo (patches, 2), its `grid` of patches (1, 3), and the seconds that all this took."""

    photo: Image.Image
    ids: Tensor
    types: Tensor
    positions: Tensor
    pixels: Tensor
    places: Tensor
    grid: Tensor
    seconds: float

    @classmethod
    def about(
        cls,
        photo: Image.Image,
        processor: Qwen2VLProcessor,
        model: Qwen2VLForConditionalGeneration,
    ) -> Self:
        """The question about an upright RGB photo; ValueError for one too long and thin."""
        start = perf_counter()
        asked = _ask(photo, processor)
        grid, ids, types = (
            asked[key] for key in ("image_grid_thw", "input_ids", "mm_token_type_ids")
        )
        positions, _ = model.model.get_rope_index(ids, types, grid)
        places = get_vision_position_ids(grid, processor.image_processor.merge_size)
        pixels = asked["pixel_values"].to(model.dtype)
        seconds = perf_counter() - start
        return cls(photo, ids[0], types[0], positions[:, 0], pixels, places, grid, seconds)

    @property
    def shift(self) -> int:
        """From a token's place in the sequence to its rotary position, after the prompt."""
        return int(self.positions.max()) + 1 - len(self.ids)


def collate(questions: Sequence[Question], padding: int) -> BatchFeature:
    """The questions as transformers' `generate` takes them, padded on the left with this id."""

    def padded(rows: list[Tensor], value: int) -> Tensor:
        return pad_sequence(rows, batch_first=True, padding_value=value, padding_side="left")

    return BatchFeature(
        {
            "input_ids": padded([asked.ids for asked in questions], padding),
            "attention_mask": padded([torch.ones_like(asked.ids) for asked in questions], 0),
            "mm_token_type_ids": padded([asked.types for asked in questions], 0),
            "pixel_values": torch.cat([asked.pixels for asked in questions]),
            "image_grid_thw": torch.cat([asked.grid for asked in questions]),
        }
    )


def _ask(photo: Image.Image, processor: Qwen2VLProcessor) -> BatchFeature:
    asked = processor.apply_chat_template(prompts.ask(), tokenize=False, add_generation_prompt=True)
    shown = budget_of(processor).fit(photo, processor.image_processor)
    return processor(text=[asked], images=[shown], return_tensors="pt")
