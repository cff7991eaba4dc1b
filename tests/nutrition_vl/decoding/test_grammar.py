"""The automaton of answers: what it lets through can be read, with both tokenizers."""

import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from nutrition_vl.boxes import GRID, LABELS, from_text, make_detections, to_text
from nutrition_vl.decoding.grammar import MAX_BOXES, Spelling, State
from nutrition_vl.models.checkpoints import DEMO

QWEN = Path(__file__).parents[3].parent / "shared" / "tokenizer"


@pytest.fixture(scope="module", params=[DEMO, QWEN], ids=["demo", "qwen"])
def tokenizer(request):
    if not request.param.is_dir():
        pytest.skip(f"there is no {request.param}")
    return AutoTokenizer.from_pretrained(request.param)


@pytest.fixture(scope="module")
def start(tokenizer):
    return State(Spelling.of(tokenizer))


def say(state, tokens):
    """The place after the tokens, each of which has to be a choice."""
    for token in tokens:
        assert token in state.choices()
        state = state.after(token)
    return state


def words(tokenizer, state):
    """What may follow, as text."""
    return {tokenizer.decode([token]) for token in state.choices()}


def begun(tokenizer, start, text, label=LABELS[0]):
    """The place within a first box whose numbers begin like this: "12", "12,", "12,3),(4"."""
    ids = tokenizer(f"<|object_ref_start|>{label}<|object_ref_end|><|box_start|>({text}").input_ids
    return say(start, ids)


def spelled(tokenizer, *boxes, label=LABELS[0]):
    text = to_text(make_detections(boxes, [label] * len(boxes)), (GRID, GRID))
    return tokenizer(text).input_ids


def test_whatever_is_said_is_read_back_whole(tokenizer, start):
    chance = random.Random(0)
    for _ in range(200):
        state, ids = start, []
        while not state.ended:
            ids.append(chance.choice(state.choices()))
            state = state.after(ids[-1])
        text = tokenizer.decode(ids[:-1])
        parsed = from_text(text, (GRID, GRID))
        boxes = [tuple(box) for box in parsed.detections.xyxy.astype(int).tolist()]
        assert parsed.malformed == 0
        assert boxes == list(state.boxes)
        assert len(set(boxes)) == len(boxes) <= MAX_BOXES
        assert all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in boxes)
        assert tokenizer(text).input_ids == ids[:-1]
        assert len(ids) <= start.spelling.longest(MAX_BOXES)
        assert set(ids) <= set(start.spelling.alphabet)
        assert state.choices() == ()


def test_every_answer_that_is_taught_may_be_said(tokenizer, start):
    chance = random.Random(1)
    for count in range(MAX_BOXES + 1):
        corners = [sorted(chance.sample(range(GRID + 1), 4)) for _ in range(count)]
        boxes = [(a, b, c, d) for a, b, c, d in corners]
        labels = [chance.choice(LABELS) for _ in boxes]
        text = to_text(make_detections(boxes, labels), (GRID, GRID))
        state = say(start, tokenizer(text).input_ids)
        assert say(state, [tokenizer.eos_token_id]).ended


def test_an_answer_begins_with_a_box_or_ends(tokenizer, start):
    assert words(tokenizer, start) == {"<|object_ref_start|>", "<|im_end|>"}
    assert start.after(tokenizer.eos_token_id).ended


def test_after_the_last_box_there_is_nothing_but_the_end(tokenizer, start):
    boxes = [(0, 0, n + 1, 1) for n in range(MAX_BOXES)]
    state = say(start, spelled(tokenizer, *boxes[:-1]))
    assert words(tokenizer, state) == {"<|object_ref_start|>", "<|im_end|>"}
    state = say(state, spelled(tokenizer, boxes[-1]))
    assert words(tokenizer, state) == {"<|im_end|>"}


def test_labels_share_their_beginnings(tokenizer, start):
    said = tokenizer("<|object_ref_start|>nutrition-table").input_ids
    state = say(start, said)
    assert words(tokenizer, state) == {"<|object_ref_end|>", "-text", "-small"}
    state = say(state, tokenizer("-small").input_ids)
    assert words(tokenizer, state) == {"<|object_ref_end|>", "-energy"}


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("", "0123456789"),
        ("0", ""),  # no leading zeros
        ("10", "0123456789"),
        ("100", ""),  # no 1000: nothing lies to its right
        ("99", "0123456789"),
        ("999", ""),
        ("12,999),(", "123456789"),  # beyond 12, so not 0
        ("12,999),(1", "0123456789"),  # 13, and 100 to 199
        ("12,999),(100", "0"),
        ("998,0),(", "19"),  # 1000 or 999
        ("998,0),(9", "9"),
        ("998,0),(99", "9"),
        ("998,0),(1", "0"),
        ("998,0),(10", "0"),
        ("998,0),(999", ""),
        ("0,999),(5,", "1"),  # 1000
        ("0,999),(5,100", "0"),
        ("0,999),(5,1000", ""),
    ],
)
def test_far_edges_lie_beyond_near_ones(tokenizer, start, text, digits):
    follow = words(tokenizer, begun(tokenizer, start, text))
    assert {word for word in follow if word.isdigit()} == set(digits)


def test_a_number_ends_only_where_it_may(tokenizer, start):
    def may_end(text):
        return any(not word.isdigit() for word in words(tokenizer, begun(tokenizer, start, text)))

    assert not may_end("")
    assert may_end("0") and may_end("99") and may_end("999")
    assert not may_end("12,30),(1")  # 1 is left of 12
    assert not may_end("12,30),(12")
    assert may_end("12,30),(13")
    assert not may_end("12,30),(13,30")
    assert may_end("12,30),(13,31")


def test_no_box_comes_twice(tokenizer, start):
    state = say(start, spelled(tokenizer, (1, 2, 3, 45)))
    for label in LABELS[:2]:
        again = begun(tokenizer, state, "1,2),(3,45", label)
        assert {word for word in words(tokenizer, again) if not word.isdigit()} == set()
        assert words(tokenizer, begun(tokenizer, state, "1,2),(3,4", label)) >= {"5", "4", ")"}


def test_a_box_that_could_only_come_twice_is_not_begun(tokenizer, start):
    corner = (999, 999, 1000, 1000)  # the only box from there
    state = say(start, spelled(tokenizer, corner))
    assert "9" not in words(tokenizer, begun(tokenizer, state, "999,99"))
    state = say(start, spelled(tokenizer, (7, 999, 9, 1000)))
    assert words(tokenizer, begun(tokenizer, state, "7,999),(")) == set("123456789")
    state = begun(tokenizer, state, "7,999),(9")
    assert not any(not word.isdigit() for word in words(tokenizer, state))


def test_a_tokenizer_of_whole_numbers_is_refused():
    def whole(text):
        return SimpleNamespace(input_ids=[hash(text)])

    def chunks(text):  # Llama 3 spells numbers three digits at a time
        parts = re.findall(r"\d{1,3}|<\|\w+\|>|[\w-]+|\W", text)
        return SimpleNamespace(input_ids=[hash(part) for part in parts])

    for tokenizer in (whole, chunks):
        tokenizer.eos_token_id = 0
        with pytest.raises(ValueError, match=r"does not spell .* digit by digit.*--free"):
            Spelling.of(tokenizer)
