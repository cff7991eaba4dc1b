"""A photo's token ids and patches, bit by bit those of the processor, in less time.

Replaces: `processor(text=..., images=...)`, which tokenizes every image token, and normalizes
and casts every pixel twice, once per temporal frame. Speed: docs/results.md. A processor of
another class, or one that would resize the photo again, is called instead. Tested by
test_inputs.py. Can go when transformers' own call is as fast.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nutrition_vl.models.family import ImageProcessor, Processor


def process(
    prompt: str, photo: Image.Image, processor: Processor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (tokens,), pixels (patches, values) in `dtype` and grid (1, 3) of the patches, for
    a prompt with one RGB photo of the size that the model takes."""
    images = processor.image_processor
    rows, columns = photo.height // images.patch_size, photo.width // images.patch_size
    if not _is_known(processor) or not _keeps_size(images, photo, rows * columns):
        inputs = processor(text=[prompt], images=[photo], return_tensors="pt")
        return inputs["input_ids"][0], inputs["pixel_values"].to(dtype), inputs["image_grid_thw"]
    ids = _ids(prompt, processor, rows * columns // images.merge_size**2)
    return ids, _patches(photo, images, dtype), torch.tensor([[1, rows, columns]])


def _is_known(processor: Processor) -> bool:
    return type(processor) is Processor and type(processor.image_processor) is ImageProcessor


def _keeps_size(images: ImageProcessor, photo: Image.Image, patches: int) -> bool:
    # A budget of exactly so many tokens may be missed by `fit`.
    return images.get_number_of_image_patches(photo.height, photo.width) == patches


def _ids(prompt: str, processor: Processor, image_tokens: int) -> Tensor:
    """The prompt's ids with this many image tokens in the place of one."""
    ids = processor.tokenizer(prompt)["input_ids"]
    place = ids.index(processor.image_token_id)
    return torch.tensor(ids[:place] + ids[place : place + 1] * image_tokens + ids[place + 1 :])


def _patches(photo: Image.Image, images: ImageProcessor, dtype: torch.dtype) -> Tensor:
    """The photo as rows (patches, channel x frame x row x column), as `patchify` orders them."""
    side, merge = images.patch_size, images.merge_size
    # The patches of one token follow each other.
    tokens = np.asarray(photo).reshape(
        photo.height // side // merge, merge, side, photo.width // side // merge, merge, side, 3
    )
    patches = torch.from_numpy(tokens.transpose(0, 3, 1, 4, 6, 2, 5).copy())
    values = images.rescale_and_normalize(
        patches.view(-1, 3, 1, side * side),
        images.do_rescale,
        images.rescale_factor,
        images.do_normalize,
        images.image_mean,
        images.image_std,
    )
    frames = values.to(dtype).expand(-1, -1, images.temporal_patch_size, -1)
    return frames.reshape(len(frames), -1)
