"""The language of answers as an automaton over token ids: nothing, or boxes, and then the end.

Ours instead of xgrammar's or llguidance's: a context-free grammar cannot say that x1 is greater
than x0, nor that no box comes twice, and this whole language has about twenty tokens, so that a
step of it costs microseconds without a mask over the vocabulary.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import groupby
from typing import Any, Self

import numpy as np

from nutrition_vl.boxes import GRID, LABELS, make_detections, to_text

MAX_BOXES = 5  # no photo of openfoodfacts/nutrition-table-detection's validation has more than 3
Box = tuple[int, ...]  # x0, y0, x1, y1 on the grid


@dataclass(frozen=True)
class Spelling:
    """The tokens of a box: `heads` lead each label up to its first number, `joints` follow the
    numbers, `digits` spell them and `end` ends the answer."""

    heads: tuple[tuple[int, ...], ...]
    digits: tuple[int, ...]
    joints: tuple[tuple[int, ...], ...]
    end: int

    @classmethod
    def of(cls, tokenizer: Any) -> Self:
        """Read off the tokenizer; ValueError for one that does not spell numbers digit by digit."""
        digits = [tokenizer(str(digit)).input_ids for digit in range(10)]
        if any(len(ids) != 1 for ids in digits):
            raise ValueError(_misspelt("the digits 0 to 9"))
        ones = tuple(ids[0] for ids in digits)
        texts = [_text((0, 0, 1, 1), label) for label in LABELS]
        parts = [_between(tokenizer(text).input_ids, ones) for text in texts]
        if any(len(part) != 5 or part[1:] != parts[0][1:] for part in parts):
            raise ValueError(_misspelt(texts[0]))
        heads = tuple(part[0] for part in parts)
        spelling = cls(heads, ones, tuple(parts[0][1:]), tokenizer.eos_token_id)
        spelling.check(tokenizer)
        return spelling

    def check(self, tokenizer: Any) -> None:
        """ValueError if the tokenizer spells any number, at any place, otherwise than this."""
        numbers = np.arange(GRID)
        for box in np.stack([numbers, numbers[::-1], numbers + 1, numbers[::-1] + 1], axis=1):
            text = _text(tuple(box.tolist()), LABELS[0])
            if self.spell(tuple(box.tolist())) != tokenizer(text).input_ids:
                raise ValueError(_misspelt(text))

    def spell(self, box: Box, label: str = LABELS[0]) -> list[int]:
        """The token ids of one box."""
        ids = list(self.heads[LABELS.index(label)])
        for number, joint in zip(box, self.joints, strict=True):
            ids += [self.digits[int(digit)] for digit in str(number)] + list(joint)
        return ids

    @cached_property
    def alphabet(self) -> tuple[int, ...]:
        """Every token that an answer may hold, in the order of their ids."""
        glue = {token for piece in (*self.heads, *self.joints) for token in piece}
        return tuple(sorted(glue | {*self.digits, self.end}))

    def longest(self, most: int) -> int:
        """Tokens of the longest answer of so many boxes, its end included."""
        head = max(map(len, self.heads))
        return most * (head + sum(map(len, self.joints)) + 4 * len(str(GRID))) + 1


@dataclass(frozen=True)
class State:
    """A place in an answer: what may follow here, and the place that follows from it.

    Within a box either `head` is being said, or the `joint` after a number, or a number, whose
    `digits` are there so far; `numbers` are whole. Between boxes all are empty.
    """

    spelling: Spelling
    most: int = MAX_BOXES
    boxes: tuple[Box, ...] = ()
    head: tuple[int, ...] = ()
    numbers: Box = ()
    digits: str | None = None
    joint: tuple[int, ...] = ()
    ended: bool = False

    def choices(self) -> tuple[int, ...]:
        """The tokens that may follow, in the order of their ids; none after the end."""
        return self._choices

    @cached_property
    def _choices(self) -> tuple[int, ...]:
        if self.ended:
            return ()
        if self.joint:
            return (self.joint[0],)
        return tuple(sorted(self._head() if self.digits is None else self._number()))

    def after(self, token: int) -> "State":
        """The place that one of the choices leads to."""
        if self.joint:
            return self._join(self.joint[1:])
        if self.digits is not None:
            return self._digit(token)
        if token == self.spelling.end and not self.head:
            return replace(self, ended=True)
        head = (*self.head, token)
        return replace(self, head=head, digits="" if head in self.spelling.heads else None)

    def guess(self) -> int | None:
        """What most answers say here, to look ahead to: that there is a box, of the first label."""
        if self.joint or self.digits is not None or (self.boxes and not self.head):
            return None  # of numbers nobody knows, and after a box most answers end
        first, said = self.spelling.heads[0], len(self.head)
        return first[said] if self.head == first[:said] else None

    def _head(self) -> set[int]:
        said = len(self.head)
        heads = self.spelling.heads if len(self.boxes) < self.most else ()
        follow = {head[said] for head in heads if head[:said] == self.head}
        return follow if said else follow | {self.spelling.end}

    def _number(self) -> set[int]:
        assert self.digits is not None
        allowed = _allowed(self.numbers, self.boxes)
        follow = {
            token
            for digit, token in enumerate(self.spelling.digits)
            if any(map(allowed, _beginnings()[f"{self.digits}{digit}"]))
        }
        whole = self.digits != "" and allowed(int(self.digits))
        return follow | {self.spelling.joints[len(self.numbers)][0]} if whole else follow

    def _digit(self, token: int) -> "State":
        assert self.digits is not None
        if token in self.spelling.digits:
            return replace(self, digits=f"{self.digits}{self.spelling.digits.index(token)}")
        joint = self.spelling.joints[len(self.numbers)]
        said = replace(self, numbers=(*self.numbers, int(self.digits)), digits=None)
        return said._join(joint[1:])

    def _join(self, rest: tuple[int, ...]) -> "State":
        if rest:
            return replace(self, joint=rest)
        if len(self.numbers) < 4:
            return replace(self, joint=(), digits="")
        return State(self.spelling, self.most, (*self.boxes, self.numbers))


@cache
def _beginnings() -> defaultdict[str, list[int]]:
    """For each row of digits the numbers of the grid that begin with it, spelt without zeros; the
    largest first, since most searches for one beyond another."""
    begins = defaultdict(list)
    for number in reversed(range(GRID + 1)):
        for length in range(len(str(number)) + 1):
            begins[str(number)[:length]].append(number)
    return begins


def _allowed(numbers: Box, boxes: Sequence[Box]) -> Callable[[int], bool]:
    """True for a number that may come next in a box: one that leaves a box with an area that is not
    among `boxes`."""
    place = len(numbers)
    low = numbers[place - 2] + 1 if place > 1 else 0
    used = Counter(box[place] for box in boxes if box[:place] == numbers)
    x, y, *_ = (*numbers, 0, 0)

    def room(number: int) -> int:
        """How many boxes begin with `numbers` and this one: far edges lie beyond near ones."""
        free = GRID - number
        return (free * (GRID * (GRID + 1) // 2), free * (GRID - x), GRID - y, 1)[place]

    return lambda number: number >= low and room(number) > used[number]


def _between(ids: Sequence[int], digits: Sequence[int]) -> list[tuple[int, ...]]:
    """The runs of tokens that are no digits."""
    runs = groupby(ids, key=lambda token: token in digits)
    return [tuple(run) for is_number, run in runs if not is_number]


def _text(box: Box, label: str) -> str:
    return to_text(make_detections([box], [label]), (GRID, GRID))


def _misspelt(what: str) -> str:
    return f"the tokenizer does not spell {what} digit by digit: ask the model freely, with --free"
