"""Batches embedded on the CPU: embeddings of words around a photo's cached features."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from trl import apply_chat_template

from nutrition_vl.models.family import Model, Processor
from training.examples.examples import IGNORED, PHOTO
from training.examples.feature_cache import Features


class Embedder:
    """Collates examples with cached features; tower and embeddings may stay off the GPU.

    `skeleton` computes M-RoPE's positions, `words` (vocabulary, width) is the embedding matrix on
    the CPU. Tokens and labels equal those of `examples.Collator`, padded on the right.
    """

    def __init__(
        self,
        processor: Processor,
        features: Features,
        words: Tensor,
        skeleton: Model,
        completion_only_loss: bool,
    ) -> None:
        self.processor, self.features, self.words = processor, features, words
        self.core, self.completion_only_loss = skeleton.model, completion_only_loss

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """`inputs_embeds` (batch, length, width), `position_ids` (3, batch, length), `labels`."""
        photos = [self.features[example[PHOTO]] for example in examples]
        pairs = [self._tokens(e, len(rows)) for e, (rows, _) in zip(examples, photos, strict=True)]
        pad = self.processor.tokenizer.pad_token_id
        ids = pad_sequence([row for row, _ in pairs], batch_first=True, padding_value=pad)
        labels = pad_sequence([row for _, row in pairs], batch_first=True, padding_value=IGNORED)
        lengths = torch.tensor([len(row) for row, _ in pairs])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        embeddings = [self._embed(row, rows) for row, (rows, _) in zip(ids, photos, strict=True)]
        positions, _ = self.core.get_rope_index(
            ids,
            mm_token_type_ids=(ids == self.processor.image_token_id).int(),
            image_grid_thw=torch.stack([grid for _, grid in photos]),
            attention_mask=mask,
        )
        return {
            "inputs_embeds": torch.stack(embeddings),
            "attention_mask": mask,
            "position_ids": positions,
            "labels": labels,
            "photos": [example["id"] for example in examples],
        }

    def _tokens(self, example: dict[str, Any], image_tokens: int) -> tuple[Tensor, Tensor]:
        """The tokens of prompt, photo and answer, and their labels."""
        chat = apply_chat_template(
            {"prompt": example["prompt"], "completion": example["completion"]}, self.processor
        )
        image = self.processor.image_token
        prompt = self._ids(chat["prompt"].replace(image, image * image_tokens))
        ids = torch.tensor(prompt + self._ids(chat["completion"]))
        labels = ids.masked_fill(ids == self.processor.image_token_id, IGNORED)
        if self.completion_only_loss:
            labels[: len(prompt)] = IGNORED
        return ids, labels

    def _embed(self, ids: Tensor, features: Tensor) -> Tensor:
        """One row of tokens embedded (length, width), with the photo's features in their place.

        Embeds the tokens around the photo only and copies its features whole: 6 ms for four rows of
        a 7B, where embedding all and replacing some took 100.
        """
        start = int((ids == self.processor.image_token_id).int().argmax())
        before, after = (
            functional.embedding(part, self.words)
            for part in (ids[:start], ids[start + len(features) :])
        )
        return torch.cat([before, features, after])

    def _ids(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
