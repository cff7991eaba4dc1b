"""Model inputs for one photo, made on the CPU from the processor alone.

No model is needed, so another process or machine can prepare photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature
from transformers.vision_utils import get_vision_position_ids

from nutrition_vl import prompts
from nutrition_vl.decoding.patches import process
from nutrition_vl.models.family import Processor
from nutrition_vl.models.pixel_budget import File, budget_of


@dataclass(frozen=True)
class ModelInputs:
    """The prompt for one photo: token `ids` (tokens,), their `types` (1 for image tokens), rotary
    `positions` (3, tokens), `pixels` (patches, values), `patch_positions` (patches, 2) and `grid`
    (1, 3) of the patches; `seconds` is the time that preprocessing took."""

    photo: Image.Image | File
    ids: Tensor
    types: Tensor
    positions: Tensor
    pixels: Tensor
    patch_positions: Tensor
    grid: Tensor
    seconds: float

    @classmethod
    def from_photo(
        cls, photo: Image.Image | File, processor: Processor, dtype: torch.dtype = torch.float32
    ) -> Self:
        """The inputs for an upright RGB photo or its file, pixels in the model's `dtype`;
        ValueError for a photo whose aspect ratio is above the limit."""
        start = perf_counter()
        prompt = processor.apply_chat_template(
            prompts.ask(), tokenize=False, add_generation_prompt=True
        )
        resized = budget_of(processor).fit(photo, processor.image_processor)
        ids, pixels, grid = process(prompt, resized, processor, dtype)
        types = (ids == processor.image_token_id).long()
        merge = processor.image_processor.merge_size
        positions = rotary_positions(types, grid[0], merge)
        patches = get_vision_position_ids(grid, merge)
        return cls(photo, ids, types, positions, pixels, patches, grid, perf_counter() - start)

    @property
    def rope_offset(self) -> int:
        """The rotary position of a token after the prompt minus its index."""
        return int(self.positions.max()) + 1 - len(self.ids)


def rotary_positions(types: Tensor, grid: Tensor, merge: int) -> Tensor:
    """Positions (3, tokens) of a prompt with one photo: text counts on, image tokens count rows and
    columns from where the text stops (Qwen2-VL, arXiv:2409.12191, section 2.1).

    transformers' `get_rope_index` gives the same but is a method of the loaded model.
    """
    rows, columns = (grid[1:] // merge).tolist()
    first = int(types.argmax())
    last = first + rows * columns
    positions = torch.arange(len(types)).repeat(3, 1)
    image = torch.cartesian_prod(torch.tensor([0]), torch.arange(rows), torch.arange(columns))
    positions[:, first:last] = first + image.T
    positions[:, last:] += first + max(rows, columns) - last
    return positions


def collate(inputs: Sequence[ModelInputs], padding: int) -> BatchFeature:
    """The batch that transformers' `generate` takes, padded on the left with this token id."""

    def padded(rows: list[Tensor], value: int) -> Tensor:
        return pad_sequence(rows, batch_first=True, padding_value=value, padding_side="left")

    return BatchFeature(
        {
            "input_ids": padded([one.ids for one in inputs], padding),
            "attention_mask": padded([torch.ones_like(one.ids) for one in inputs], 0),
            "mm_token_type_ids": padded([one.types for one in inputs], 0),
            "pixel_values": torch.cat([one.pixels for one in inputs]),
            "image_grid_thw": torch.cat([one.grid for one in inputs]),
        }
    )
