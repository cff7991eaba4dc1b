"""One photo's answer under way: what is said, and which words go through the model next."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isnan

import numpy as np

from nutrition_vl.decoding.grammar import State

FORKS = 11  # choices there are within a number at most: ten digits, or its end


@dataclass(frozen=True)
class Token:
    """A token that was said, its log probability among the `choices` that the grammar left, and
    whether the model by itself would have said another of its vocabulary. Of a digit also the mean
    of the digits that might stand there, by their probabilities."""

    id: int
    score: float
    choices: int
    overruled: bool = False
    mean: float | None = None


@dataclass
class Row:
    """An answer. What is settled, prompt and all, fills the slots up to `filled`, but for the last
    token: that begins the `chain`, and the tokens looked ahead to follow it.

    `forks`, if `forking`, are the ways on from the chain's end, one for each choice, in the slots
    behind it. `shift` leads from a place in the sequence to its rotary position.
    """

    state: State
    last: int
    filled: int
    shift: int
    forking: bool
    said: list[Token] = field(default_factory=list)
    overflowed: bool = False

    def __post_init__(self) -> None:
        self._look_ahead(self.last, None)

    @property
    def open(self) -> bool:
        """Whether there is more to say."""
        return not (self.state.ended or self.overflowed)

    def words(self) -> Iterator[tuple[int, int, int, int]]:
        """Slot by slot from `filled` on: a token, the last slot of the sequence it sees, the slot
        from which on it sees its own fork too, and its rotary position."""
        for slot, token in enumerate(self.chain, self.filled):
            yield token, slot, slot, slot + self.shift
        end = slot = self.filled + len(self.chain)
        for fork in self.forks:
            first = slot
            for depth, token in enumerate(fork):
                yield token, end - 1, first, end + depth + self.shift
                slot += 1

    def reads(self) -> list[int]:
        """After which words a prediction is wanted: all of the chain, and the last of each fork."""
        ends = np.cumsum([len(fork) for fork in self.forks], dtype=int) + len(self.chain) - 1
        return [*range(len(self.chain)), *ends.tolist()]

    def hear(self, predictions: np.ndarray) -> None:
        """Says what the model predicts after the `reads` (reads, alphabet + 2), as far as it knows
        what it says."""
        glimpses = {fork[0]: len(self.chain) + place for place, fork in enumerate(self.forks)}
        for place, following in enumerate([*self.chain[1:], None]):
            self.filled += 1
            self.overflowed = isnan(predictions[place, -2])
            if self.overflowed:
                return
            token = self._say(predictions[place])
            if token != following:
                break
        if self.state.ended:
            return
        seen = glimpses.get(token) if following is None else None
        self._look_ahead(token, None if seen is None else predictions[seen])

    def _say(self, prediction: np.ndarray) -> int:
        token = likeliest(self.state, prediction)
        self.said.append(token)
        self.state = self.state.after(token.id)
        return token.id

    def _look_ahead(self, token: int, glimpse: np.ndarray | None) -> None:
        """Chain and forks behind a settled token; `glimpse` predicts what its fork leads to."""
        more, state = ahead(self.state)
        self.chain = [token, *more]
        if glimpse is not None:
            guess = likeliest(state, glimpse).id
            if guess != state.spelling.end:
                more, state = ahead(state.after(guess))
                self.chain += [guess, *more]
        choices = state.choices() if self.forking else ()
        ends = state.spelling.end in choices  # and after an end nothing comes
        self.forks = [] if ends else [[one, *ahead(state.after(one))[0]] for one in choices]


def ahead(state: State) -> tuple[list[int], State]:
    """The tokens that the grammar forces or that most answers say, and where they lead; no end."""
    tokens: list[int] = []
    while True:
        choices = state.choices()
        token = choices[0] if len(choices) == 1 else state.guess()
        if token is None or token == state.spelling.end:
            return tokens, state
        tokens.append(token)
        state = state.after(token)


def likeliest(state: State, prediction: np.ndarray) -> Token:
    """The choice with the highest logit (alphabet + 2), the first of equal ones."""
    spelling, choices = state.spelling, state.choices()
    logits = prediction[[spelling.alphabet.index(token) for token in choices]]
    scores = logits - np.logaddexp.reduce(logits)
    best = int(logits.argmax())
    token, overruled = choices[best], choices[best] != int(prediction[-1])
    return Token(token, float(scores[best]), len(choices), overruled, _mean(state, token, scores))


def _mean(state: State, said: int, scores: np.ndarray) -> float | None:
    """The mean of the digits among the choices, None where no digit was said."""
    digits = state.spelling.digits
    if said not in digits:
        return None
    values = {
        place: digits.index(token) for place, token in enumerate(state.choices()) if token in digits
    }
    return float(np.average(list(values.values()), weights=np.exp(scores[list(values)])))
