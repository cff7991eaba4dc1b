"""Merged models: equal boxes in plain transformers, the served grammar, and what is refused."""

import errno
import json
import random
import re
import shutil
from dataclasses import replace

import pytest
import torch
import xgrammar
from safetensors import safe_open
from transformers import AutoTokenizer

from nutrition_vl.decoding.grammar import Spelling, State
from nutrition_vl.decoding.structural_tag import structural_tag
from nutrition_vl.models.checkpoints import DEMO, read_card, write_card
from training import merge

NUMBERS = re.compile(r"\((\d+),(\d+)\),\((\d+),(\d+)\)")


@pytest.fixture
def adapter(tmp_path):
    """The embedded adapter for a base with the hub's repetition penalty, which changes boxes."""
    base = tmp_path / "base"
    others = shutil.ignore_patterns("adapter", "examples", "*.jsonl", "helpers*")
    shutil.copytree(DEMO, base, ignore=others)
    defaults = json.loads((base / "generation_config.json").read_text())
    text = json.dumps(defaults | {"repetition_penalty": 1.05})
    (base / "generation_config.json").write_text(text)
    shutil.copytree(DEMO / "adapter", tmp_path / "adapter")
    card = replace(read_card(tmp_path / "adapter"), base_model=str(base))
    write_card(tmp_path / "adapter", card)
    return tmp_path / "adapter"


@pytest.mark.slow
def test_plain_transformers_find_our_boxes_with_the_merged_model(adapter, tmp_path, capsys):
    out, labelled = tmp_path / "merged", ["--validate", str(DEMO / "examples")]
    words = [*labelled, "--split", "examples", "--shard", "5MB", "--device", "cpu"]
    assert merge.main([str(adapter), "--out", str(out), *words]) == 0
    printed = capsys.readouterr().out
    assert "the same boxes as before on 6 photos\nin plain transformers on 6 of them" in printed
    defaults = json.loads((out / "generation_config.json").read_text())
    assert "repetition_penalty" not in defaults and defaults["do_sample"] is False
    shards = sorted(out.glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    with safe_open(shards[0], "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.offset_keys()} == {torch.bfloat16}
    card = (out / "README.md").read_text()
    scores = re.findall(r"\| (?:base and adapter|merged) \| (0\.9\d\d) \| 1\.000 \|", card)
    assert len(scores) == 2 and scores[0] == scores[1] and "6 of 6 labelled photos" in card
    assert merge.main([str(adapter), "--out", str(out)]) == 2  # it is not empty


@pytest.mark.slow
def test_nothing_is_left_of_a_model_that_finds_other_boxes(adapter, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(merge, "ALIKE", 1.1)
    words = ["--out", str(tmp_path / "merged"), "--device", "cpu"]
    assert merge.main([str(adapter), *words]) == 2
    refused = r"merged the model finds the same boxes on [01] of 6 photos"
    assert re.search(refused, capsys.readouterr().err)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left", "merged/x"),
            "merged/x cannot be written: the disk",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU's memory is full: use --device"),
    ],
)
def test_a_full_disk_or_gpu_is_one_sentence(error, words, monkeypatch, capsys):
    def full(*_):
        raise error

    monkeypatch.setattr(merge, "merge", full)
    assert merge.main(["demo"]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO)


def answer(start, choose):
    """The tokens of a random answer inside our grammar."""
    state, tokens = start, []
    while not state.ended:
        choices = state.choices()
        likely = [token for token in choices if token != state.spelling.end]
        tokens.append(choose(likely if likely and choose([0, 1, 2, 3]) else list(choices)))
        state = state.after(tokens[-1])
    return tokens


@pytest.mark.slow
def test_10_000_strings_are_served_as_our_grammar_has_them(tokenizer):
    """Half are answers of our grammar; in half one token is another one."""
    end, choose = tokenizer.eos_token_id, random.Random(0).choice
    spelling = Spelling.of(tokenizer)
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=[end])
    tag = json.dumps(structural_tag(tokenizer))
    grammar = xgrammar.GrammarCompiler(info).compile_structural_tag(tag)
    refused = 0
    for number in range(10_000):
        tokens = answer(State(spelling), choose)
        if number % 2:
            tokens[choose(range(len(tokens)))] = choose(spelling.alphabet)
        ours, state = True, State(spelling)
        for token in tokens:
            ours = ours and token in state.choices()
            state = state.after(token) if ours else state
        ours = ours and state.ended
        matcher = xgrammar.GrammarMatcher(grammar)
        served = all(matcher.accept_token(token) for token in tokens) and tokens[-1] == end
        refused += not served
        # What a structural tag cannot say: edges in order, and no box twice.
        boxes = [tuple(map(int, box)) for box in NUMBERS.findall(tokenizer.decode(tokens))]
        ordered = all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in boxes)
        assert ours == (served and ordered and len({*boxes}) == len(boxes)), tokens
    assert 3_000 < refused < 5_000
