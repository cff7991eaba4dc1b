"""Greedy decoding inside a grammar, many photos at a time: what the model says, token by token.

What the grammar forces, and what most answers say next, goes through the model together with the
token before it, and is kept as far as the model agrees (arXiv:2211.17192, with a draft that costs
nothing). Where the grammar leaves a choice, all choices go along as a fork in the road that nobody
else sees (arXiv:2305.09781), so that the step that makes the choice has already looked past it. So
the answer is that of decoding token by token, in a quarter of the steps.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from nutrition_vl.decoding.attention import attending
from nutrition_vl.decoding.cuda_graphs import Eager
from nutrition_vl.decoding.draft import FORKS, Row, Token
from nutrition_vl.decoding.grammar import State
from nutrition_vl.decoding.inputs import Question
from nutrition_vl.decoding.kv_cache import Slots
from nutrition_vl.decoding.vision import see


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
        parts = self.model.model.visual, self.model.model.language_model
        with attending(*(part.config for part in parts)):
            seen = [self._see(question, adapter) for question in questions]
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

    def _see(self, question: Question, adapter: str) -> Tensor:
        """What the vision tower makes of a photo (image tokens, width)."""
        tower, device = self.model.model.visual, self.model.device

        def look(pixels: Tensor, places: Tensor) -> Tensor:
            return see(tower, pixels, places, question.grid)

        inputs = question.pixels.to(device), question.places.to(device)
        return self.runner.run((adapter, "see"), look, *inputs).clone()

    def _begin(
        self, questions: Sequence[Question], seen: Sequence[Tensor], adapter: str
    ) -> list[Row]:
        """Prompts and the look ahead go through the model; every answer gets its first tokens."""
        forking = len(questions) * FORKS <= self.runner.spare
        rows = [
            Row(self.start, int(asked.ids[-1]), len(asked.ids) - 1, asked.shift, forking)
            for asked in questions
        ]
        width = self.runner.width(max(row.filled + len(list(row.words())) for row in rows))
        self._make_room(self.runner.rows(len(rows)), width)
        plan = self._plan(rows, width, [0] * len(rows))
        for row, asked in enumerate(questions):
            plan[0, row, : len(asked.ids)] = asked.ids
            plan[4:, row, : len(asked.ids)] = asked.positions
        plan = plan.to(self.model.device)
        embeds = self.model.get_input_embeddings()(plan[0])
        image = plan[0] == self.model.config.image_token_id
        embeds[image] = torch.cat(list(seen)).to(embeds.dtype)

        def begin(embeds: Tensor, plan: Tensor, reads: Tensor) -> Tensor:
            return self._predict(embeds, plan, reads, width)

        reads = self._reads(rows, [row.filled for row in rows])
        self._hear(rows, self.runner.run((adapter, "begin"), begin, embeds, plan, reads))
        return rows

    def _go_on(self, rows: Sequence[Row], adapter: str) -> None:
        """One step: every open answer's words go through the model."""
        width = self.runner.width(max(len(list(row.words())) for row in rows if row.open))
        extent = self.runner.extent(max(row.filled for row in rows) + width)

        def step(plan: Tensor, reads: Tensor) -> Tensor:
            return self._predict(self.model.get_input_embeddings()(plan[0]), plan, reads, extent)

        plan = self._plan(rows, width, [row.filled for row in rows]).to(self.model.device)
        reads = self._reads(rows, [0] * len(rows))
        self._hear(rows, self.runner.run((adapter, "step", extent), step, plan, reads))

    def _plan(self, rows: Sequence[Row], width: int, starts: Sequence[int]) -> Tensor:
        """What each place of a step is (7, photos, width): token, slot, the last slot it sees, the
        slot from which on it sees more up to itself, three rotary positions.

        A row's places are the slots from its start on; those without a word see just themselves.
        """
        plan = torch.zeros(7, self.runner.rows(len(rows)), width, dtype=torch.long)
        plan[1:] = torch.arange(width)
        for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
            plan[1:, number] += start
            if row.open:
                words = torch.tensor(list(row.words())).T
                places = slice(row.filled - start, row.filled - start + words.shape[1])
                plan[0, number, places], plan[2:5, number, places] = words[0], words[1:]
                plan[5:, number, places] = words[3]
        return plan

    def _reads(self, rows: Sequence[Row], starts: Sequence[int]) -> Tensor:
        """The places to predict from (photos, reads), filled up with the first."""
        reads = [
            [start + place for place in row.reads()] if row.open else []
            for row, start in zip(rows, starts, strict=True)
        ]
        width = self.runner.width(max(map(len, reads)))
        filled = torch.zeros(self.runner.rows(len(rows)), width, dtype=torch.long)
        for line, places in zip(filled, reads, strict=False):
            line[: len(places)] = torch.tensor(places)
        return filled.to(self.model.device)

    def _predict(self, embeds: Tensor, plan: Tensor, reads: Tensor, extent: int) -> Tensor:
        """The logits after the places to read (photos, reads, alphabet + 2): the alphabet's, the
        logarithm of all's summed exponentials, and the likeliest token of all."""
        assert self.slots is not None
        _, where, upto, since, *_ = plan
        self.slots.where, self.slots.extent = where, extent
        slot = torch.arange(extent, device=plan.device)
        own = (slot >= since[..., None]) & (slot <= where[..., None])
        unseen = (slot > upto[..., None]) & ~own
        hidden = self.model.model.language_model(
            inputs_embeds=embeds,
            position_ids=plan[4:],
            attention_mask={"full_attention": unseen[:, None]},
            past_key_values=self.slots,
        ).last_hidden_state
        hidden = hidden.gather(1, reads[..., None].expand(-1, -1, hidden.shape[-1]))
        logits = self.model.lm_head(hidden).float()
        whole, first = logits.logsumexp(-1, keepdim=True), logits.argmax(-1, keepdim=True)
        return torch.cat([logits[..., self.alphabet], whole, first.float()], dim=-1)

    def _hear(self, rows: Sequence[Row], predictions: Tensor) -> None:
        for row, prediction in zip(rows, predictions.cpu().numpy(), strict=False):
            if row.open:
                row.hear(prediction)

    def _make_room(self, photos: int, width: int) -> None:
        """Slots for prompts of this width and any answers: new ones, so that nothing depends on
        what was asked before, or those that graphs know, as long as they are large enough."""
        longest = self.start.spelling.longest(self.start.most)
        length = self.runner.extent(width + longest + self.runner.width(4 * FORKS))
        if self.slots and self.runner.fixed:
            if self.slots.photos >= photos and self.slots.length >= length:
                return
            photos, length = max(photos, self.slots.photos), max(length, self.slots.length)
        self.forget()
        weight = self.model.get_input_embeddings().weight
        self.slots = Slots(self.model.config.text_config, photos, length, weight)
