"""Draft tokens of one photo: guesses at an answer's next tokens, made without the model.

The grammar forces many tokens and most answers begin alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nutrition_vl.decoding.decoded import Decoded, overflows
from nutrition_vl.decoding.grammar import State


@dataclass
class Draft:
    """Decoding state of one photo.

    Positions below `cached` are final and in the KV cache. `tokens` are the last final token and
    the guesses after it, which the next forward pass verifies. `rope_offset` leads from a position
    to its rotary position. The answer begins with the `forced` tokens.
    """

    state: State
    last: int
    cached: int
    rope_offset: int
    forced: Sequence[int] = ()
    answer: Decoded = field(default_factory=Decoded)

    def __post_init__(self) -> None:
        self.tokens = [self.last, *guesses(self.state)]

    @property
    def open(self) -> bool:
        """True until the answer has ended."""
        return not (self.state.ended or self.answer.overflowed)

    def verify(self, predictions: np.ndarray) -> None:
        """Adds the predictions after each of `tokens` (tokens, alphabet + 2) to the answer, up to
        the first that differs from the guess, and drafts the next ones."""
        guessed = [*self.tokens[1:], None]  # nothing was guessed after the last
        for guess, prediction in zip(guessed, predictions, strict=False):
            self.cached += 1
            self.answer.overflowed = overflows(prediction)
            if self.answer.overflowed:
                return
            done = len(self.answer.tokens)
            forced = self.forced[done] if done < len(self.forced) else None
            self.state = self.answer.append(self.state, prediction, forced)
            self.last = self.answer.tokens[-1].id
            if self.last != guess:
                break
        if self.open:
            self.tokens = [self.last, *guesses(self.state)]


def guesses(state: State) -> list[int]:
    """The next tokens that the grammar forces or that are frequent; never the end."""
    tokens: list[int] = []
    while True:
        choices = state.choices()
        token = choices[0] if len(choices) == 1 else state.guess()
        if token is None or token == state.spelling.end:
            return tokens
        tokens.append(token)
        state = state.after(token)
