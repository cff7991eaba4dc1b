"""Batches that are embedded before they reach the GPU: words looked up, photos' features put in."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from trl import apply_chat_template

from training.examples.examples import IGNORED
from training.examples.feature_cache import Features


class Embedder:
    """Collates examples with cached features; neither tower nor embeddings need be on the GPU.

    `skeleton` knows M-RoPE's positions, `words` (vocabulary, width) is the embedding matrix on the
    CPU. Padded on the right, tokens and labels are those of `examples.Collator`.
    """

    def __init__(
        self,
        processor: Qwen2VLProcessor,
        features: Features,
        words: Tensor,
        skeleton: Qwen2VLForConditionalGeneration,
        completion_only_loss: bool,
    ) -> None:
        self.processor, self.features, self.words = processor, features, words
        self.core, self.completion_only_loss = skeleton.model, completion_only_loss

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """`inputs_embeds` (batch, length, width), `position_ids` (3, batch, length), `labels`."""
        seen = [self.features[example["photo"]] for example in examples]
        pairs = [self._tokens(e, len(rows)) for e, (rows, _) in zip(examples, seen, strict=True)]
        pad = self.processor.tokenizer.pad_token_id
        ids = pad_sequence([row for row, _ in pairs], batch_first=True, padding_value=pad)
        labels = pad_sequence([row for _, row in pairs], batch_first=True, padding_value=IGNORED)
        lengths = torch.tensor([len(row) for row, _ in pairs])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        shown = ids == self.processor.image_token_id
        embedded = torch.stack([self._embed(*row) for row in zip(ids, seen, strict=True)])
        positions, _ = self.core.get_rope_index(
            ids,
            mm_token_type_ids=shown.int(),
            image_grid_thw=torch.stack([grid for _, grid in seen]),
            attention_mask=mask,
        )
        return {
            "inputs_embeds": embedded,
            "attention_mask": mask,
            "position_ids": positions,
            "labels": labels,
            "photos": [example["id"] for example in examples],
        }

    def _tokens(self, example: dict[str, Any], count: int) -> tuple[Tensor, Tensor]:
        """The tokens of prompt and answer, the photo's as often as it has features, and labels."""
        chat = apply_chat_template(
            {"prompt": example["prompt"], "completion": example["completion"]}, self.processor
        )
        image = self.processor.image_token
        asked = self._ids(chat["prompt"].replace(image, image * count))
        ids = torch.tensor(asked + self._ids(chat["completion"]))
        labels = ids.masked_fill(ids == self.processor.image_token_id, IGNORED)
        if self.completion_only_loss:
            labels[: len(asked)] = IGNORED
        return ids, labels

    def _embed(self, ids: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
        """One row of tokens embedded (length, width); the photo's, side by side, are its features.

        Words are looked up beside the photo alone, and features copied whole: 6 ms for four rows
        of a 7B where looking all up and replacing some took 100.
        """
        rows, start = seen[0], int((ids == self.processor.image_token_id).int().argmax())
        before, after = (
            functional.embedding(part, self.words)
            for part in (ids[:start], ids[start + len(rows) :])
        )
        return torch.cat([before, rows, after])

    def _ids(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
