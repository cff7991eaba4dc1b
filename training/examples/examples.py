"""Rows as TRL's examples: the prompt of detection, the answer, the resized photo."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling
from trl.trainer.utils import flush_left

from nutrition_vl import prompts
from nutrition_vl.boxes import to_text
from nutrition_vl.data import truth
from nutrition_vl.data.sources import photo_file, undecoded
from nutrition_vl.models.family import Processor
from nutrition_vl.models.pixel_budget import budget_of

IGNORED = -100  # PyTorch's cross-entropy skips this label
PHOTO = "photo"  # the column with the SHA-256 of a row's photo
ROWS = ("input_ids", "labels", "mm_token_type_ids")  # of a batch, as long as its longest example


def answer_text(row: Mapping) -> str:
    """A row's boxes as the text of an answer."""
    return to_text(truth(row), (row["width"], row["height"]))


def to_example(row: Mapping, processor: Processor | None) -> dict[str, Any]:
    """A row in TRL's prompt-completion form, the photo within the processor's pixel budget.

    Without a processor it has no photo, only its hash; TRL needs the column `images` all the same.
    """
    photos = []
    if processor is not None:
        image = row["image"]
        photo = photo_file(image) if isinstance(image, dict) else image
        photos = [budget_of(processor).fit(photo, processor.image_processor)]
    return {
        "id": row["id"],
        "prompt": prompts.ask(),
        "completion": prompts.answer(answer_text(row)),
        "images": photos,
        PHOTO: row.get(PHOTO),
    }


def length(row: Mapping, processor: Processor) -> int:
    """Tokens of a row: prompt, photo and answer; computed without opening the photo."""
    turns = prompts.ask() + prompts.answer(answer_text(row))
    chat = processor.apply_chat_template(turns, tokenize=False)
    words = len(processor.tokenizer(chat)["input_ids"]) - 1  # the photo's one placeholder
    return words + patches(row, processor) // processor.image_processor.merge_size**2


def patches(row: Mapping, processor: Processor) -> int:
    """Patches of a row's photo in the vision tower; computed without opening it."""
    pictures = processor.image_processor
    return pictures.get_number_of_image_patches(row["height"], row["width"], {})


def to_examples(rows: Dataset, processor: Processor) -> Dataset:
    """The rows as examples; a photo is opened when its example is read."""
    return undecoded(rows).with_transform(partial(_columns, processor=processor))


def with_features(rows: Dataset) -> Dataset:
    """The rows as examples that name their photo's features instead of opening the photo."""
    return rows.remove_columns("image").with_transform(partial(_columns, processor=None))


def _columns(batch: Mapping, processor: Processor | None) -> dict[str, list]:
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    examples = [to_example(row, processor) for row in rows]
    return {key: [example[key] for example in examples] for key in examples[0]}


class Collator(DataCollatorForVisionLanguageModeling):
    """TRL's collator, which never trains image tokens and names the photos of the batch.

    TRL masks them as part of the prompt, but not with `completion_only_loss=False`. It also pads
    prompts on the left, where causal attention needs a mask; this collator pads on the right.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch with labels, and the photos' ids under `photos`."""
        photos = [example["id"] for example in examples]
        batch = super().torch_call(examples)
        rows = [batch[key] for key in ROWS]
        batch |= dict(
            zip(("attention_mask", *ROWS), flush_left(batch["attention_mask"], *rows), strict=True)
        )
        batch["labels"][batch["input_ids"] == self.processor.image_token_id] = IGNORED
        return batch | {"photos": photos}


def trained_tokens(batch: Mapping) -> list[torch.Tensor]:
    """The tokens of each row of a batch that count in the loss."""
    return [row[row != IGNORED] for row in batch["labels"]]
