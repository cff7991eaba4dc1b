"""Greedy decoding inside a grammar, many photos at a time: what the model says, token by token.

What the grammar forces, and what most answers say next, is looked ahead to: it goes through the
model together with the token before it, and is kept as far as the model and the grammar say the
same (arXiv:2211.17192, with a draft that costs nothing). So the answer is that of decoding token by
token, in about half as many steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isnan

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from nutrition_vl.grammar import State
from nutrition_vl.graphs import Eager
from nutrition_vl.questions import Question
from nutrition_vl.slots import Slots, slotted


@dataclass(frozen=True)
class Token:
    """A token that was said, its log probability among the `choices` that the grammar left, and
    whether the model by itself would have said another of its vocabulary."""

    id: int
    score: float
    choices: int
    overruled: bool = False


@dataclass
class Row:
    """One photo's answer under way: its first token in `chunk` is settled, the others are looked
    ahead to, and `filled` slots hold what came before."""

    state: State
    chunk: list[int]
    shift: int  # from a slot to its rotary position, beyond the prompt
    filled: int
    said: list[Token] = field(default_factory=list)
    overflowed: bool = False

    @property
    def open(self) -> bool:
        return not (self.state.ended or self.overflowed)

    def hear(self, predictions: np.ndarray) -> None:
        """Goes on by what the model says after each token of the chunk (tokens, alphabet + 2)."""
        for place, prediction in enumerate(predictions[: len(self.chunk)]):
            self.filled += 1
            if isnan(prediction[-2]):
                self.overflowed = True
                return
            token = self.choose(prediction)
            if not self.open:
                return
            if self.chunk[place + 1 : place + 2] != [token]:
                break
        self.chunk = [token, *ahead(self.state)]

    def choose(self, prediction: np.ndarray) -> int:
        """Says the likeliest token that the grammar allows."""
        spelling, choices = self.state.spelling, self.state.choices()
        logits = prediction[[spelling.alphabet.index(token) for token in choices]]
        best = int(logits.argmax())
        score = float(logits[best] - np.logaddexp.reduce(logits))
        overruled = choices[best] != int(prediction[-1])
        self.said.append(Token(choices[best], score, len(choices), overruled))
        self.state = self.state.after(choices[best])
        return choices[best]


def ahead(state: State) -> list[int]:
    """The tokens that the grammar forces from here on or that most answers say; not the end."""
    tokens: list[int] = []
    while not state.ended:
        choices = state.choices()
        token = choices[0] if len(choices) == 1 else state.guess()
        if token in (None, state.spelling.end):
            break
        tokens.append(token)
        state = state.after(token)
    return tokens


class Decoder:
    """A model's way of answering questions; `lap` is told of each stage when it is over."""

    def __init__(self, model: Qwen2VLForConditionalGeneration, start: State, runner: Eager) -> None:
        self.model, self.start, self.runner = model, start, runner
        self.lap: Callable[[str], None] = lambda stage: None
        self.slots: Slots | None = None
        self.alphabet = torch.tensor(start.spelling.alphabet, device=model.device)

    @torch.inference_mode()
    def decode(self, questions: Sequence[Question], adapter: str) -> list[list[Token] | None]:
        """The answer to each question, its end included, None where numbers overflowed.

        The adapter in use is named so that what is kept of one is not used for another.
        """
        with slotted(self.model.model.language_model.config):
            seen = [self._see(question) for question in questions]
            self.lap("vision")
            rows = self._begin(questions, seen, adapter)
            self.lap("prefill")
            while any(row.open for row in rows):
                self._go_on(rows, adapter)
            self.lap("decode")
        if any(row.overflowed for row in rows):
            self.forget()  # a slot that holds NaN spoils even those who give it no weight
        return [None if row.overflowed else row.said for row in rows]

    def forget(self) -> None:
        """Lets go of all memory that a next call would use again."""
        self.slots = None
        self.runner.forget()

    def _see(self, question: Question) -> Tensor:
        """What the vision tower makes of one photo (image tokens, width)."""
        whole = torch.tensor([0, len(question.pixels)])  # on the CPU, where its ends are read

        def see(pixels: Tensor, places: Tensor) -> Tensor:
            tower, grid = self.model.model.visual, question.grid
            seen = tower(pixels, grid_thw=grid, position_ids=places, cu_seqlens=whole)
            return seen.pooler_output

        inputs = question.pixels.to(self.model.device), question.places.to(self.model.device)
        return self.runner.run("vision", see, *inputs).clone()

    def _begin(
        self, questions: Sequence[Question], seen: Sequence[Tensor], adapter: str
    ) -> list[Row]:
        """Prompts and the look ahead go through the model; every answer gets its first tokens."""
        draft = ahead(self.start)
        rows = [
            Row(self.start, [int(asked.ids[-1]), *draft], asked.shift, len(asked.ids) - 1)
            for asked in questions
        ]
        width = self.runner.width(max(row.filled for row in rows) + 1 + len(draft))
        self._make_room(self.runner.rows(len(rows)), width)
        embeds, positions, read = self._prompts(questions, seen, draft, width)

        def begin(embeds: Tensor, positions: Tensor, read: Tensor) -> Tensor:
            where = torch.arange(width, device=embeds.device).expand(len(embeds), -1)
            return self._predict(embeds, positions, where, read, width)

        self._hear(rows, self.runner.run((adapter, "begin"), begin, embeds, positions, read))
        return rows

    def _prompts(
        self, questions: Sequence[Question], seen: Sequence[Tensor], draft: list[int], width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (photos, width, features) and rotary positions (3, photos, width) of prompts
        with the draft, padded on the right, and from where to predict (photos, draft + 1)."""
        count = self.runner.rows(len(questions))
        ids = torch.zeros(count, width, dtype=torch.long)
        positions = torch.arange(width).repeat(3, count, 1)
        read = torch.arange(len(draft) + 1).repeat(count, 1)
        for row, asked in enumerate(questions):
            length = len(asked.ids)
            ids[row, : length + len(draft)] = torch.cat([asked.ids, torch.tensor(draft).long()])
            positions[:, row, :length] = asked.positions
            positions[:, row, length:] += asked.shift
            read[row] += length - 1
        ids = ids.to(self.model.device)
        embeds = self.model.get_input_embeddings()(ids)
        image = ids == self.model.config.image_token_id
        embeds[image] = torch.cat(list(seen)).to(embeds.dtype)
        return embeds, positions.to(ids.device), read.to(ids.device)

    def _go_on(self, rows: Sequence[Row], adapter: str) -> None:
        """One step: every open answer's chunk goes through the model."""
        width = self.runner.width(max(len(row.chunk) for row in rows if row.open))
        extent = self.runner.extent(max(row.filled for row in rows) + width)
        plan = torch.zeros(self.runner.rows(len(rows)), width + 2, dtype=torch.long)
        for row, line in zip(rows, plan, strict=False):
            line[0], line[1] = row.filled, row.shift
            if row.open:
                line[2 : 2 + len(row.chunk)] = torch.tensor(row.chunk)

        def step(plan: Tensor) -> Tensor:
            read = torch.arange(width, device=plan.device).expand(len(plan), -1)
            where = plan[:, :1] + read
            embeds = self.model.get_input_embeddings()(plan[:, 2:])
            positions = (where + plan[:, 1:2]).expand(3, -1, -1)
            return self._predict(embeds, positions, where, read, extent)

        plan = plan.to(self.model.device)
        self._hear(rows, self.runner.run((adapter, "step", extent), step, plan))

    def _predict(
        self, embeds: Tensor, positions: Tensor, where: Tensor, read: Tensor, extent: int
    ) -> Tensor:
        """The logits after the tokens at `read` (photos, reads, alphabet + 2): those of the
        alphabet, the log of all's summed exponentials, and the likeliest token of all."""
        assert self.slots is not None
        self.slots.where, self.slots.extent = where, extent
        mask = torch.arange(extent, device=where.device) <= where[:, None, :, None]
        hidden = self.model.model.language_model(
            inputs_embeds=embeds,
            position_ids=positions,
            attention_mask={"full_attention": mask},
            past_key_values=self.slots,
        ).last_hidden_state
        hidden = hidden.gather(1, read[..., None].expand(-1, -1, hidden.shape[-1]))
        logits = self.model.lm_head(hidden).float()
        whole, first = logits.logsumexp(-1, keepdim=True), logits.argmax(-1, keepdim=True)
        return torch.cat([logits[..., self.alphabet], whole, first.float()], dim=-1)

    def _hear(self, rows: Sequence[Row], predictions: Tensor) -> None:
        for row, prediction in zip(rows, predictions.cpu().numpy(), strict=False):
            if row.open:
                row.hear(prediction)

    def _make_room(self, photos: int, width: int) -> None:
        """Slots for prompts of this width and any answers; larger ones end what used the old."""
        longest = self.start.spelling.longest(self.start.most)
        length = self.runner.extent(width + longest + self.runner.width(len(ahead(self.start)) + 1))
        if self.slots and self.slots.photos >= photos and self.slots.length >= length:
            return
        if self.slots:
            photos, length = max(photos, self.slots.photos), max(length, self.slots.length)
        self.forget()
        weight = self.model.get_input_embeddings().weight
        self.slots = Slots(self.model.config.text_config, photos, length, weight)
