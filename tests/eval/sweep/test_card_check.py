"""A checkpoint is asked as its card says, or refused, or flagged."""

import json
import shutil

import pytest

from eval.__main__ import main
from eval.sweep.card_check import admit
from nutrition_vl import prompts
from nutrition_vl.models.checkpoints import CARD, DEMO


def changed(folder, **entries):
    """A copy of the demo's adapter, with other words on its card."""
    copy = folder / "checkpoint-9"
    shutil.copytree(DEMO / "adapter", copy)
    card = json.loads((copy / CARD).read_text()) | entries
    (copy / CARD).write_text(json.dumps(card))
    return copy


def test_the_demo_is_asked_as_it_was_trained(tmp_path):
    folder, card, differs = admit(DEMO / "adapter", "cpu", force=False, scratch=tmp_path)
    assert (folder, card.quantization, differs) == (DEMO / "adapter", "nf4", ())
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"prompt": "000000000000"}, "prompt 000000000000"),
        ({"max_tokens": 7}, "token budget 7 on the card"),
        ({"quantization": "none"}, "quantization none on the card, nf4 here"),
        ({"attention": "eager"}, "attention eager on the card, sdpa here"),
    ],
)
def test_what_differs_is_refused_or_flagged(tmp_path, entry, what):
    copy = changed(tmp_path, **entry)
    with pytest.raises(ValueError, match=f"{what}.*--force"):
        admit(copy, "cpu", force=False, scratch=tmp_path / "scratch")
    _, card, differs = admit(copy, "cpu", force=True, scratch=tmp_path / "scratch")
    assert len(differs) == 1 and differs[0].startswith(what)
    assert getattr(card, *entry) == next(iter(entry.values()))


def test_other_words_are_asked_through_a_copy(tmp_path):
    copy = changed(tmp_path, prompt="000000000000")
    before = (copy / CARD).read_bytes()
    asked, _, _ = admit(copy, "cpu", force=True, scratch=tmp_path / "scratch")
    assert json.loads((asked / CARD).read_text())["prompt"] == prompts.fingerprint()
    assert (copy / CARD).read_bytes() == before
    assert {path.name for path in asked.iterdir()} == {path.name for path in copy.iterdir()}


def test_a_broken_card_is_never_forced(tmp_path):
    copy = changed(tmp_path, prompt="000000000000", step="nine")
    with pytest.raises(ValueError, match="has a wrong type of step"):
        admit(copy, "cpu", force=True, scratch=tmp_path / "scratch")


def test_a_forced_row_is_starred_and_stays_so(tmp_path, capsys):
    run, out = changed(tmp_path, prompt="000000000000").parent, tmp_path / "out"
    options = f"--data {DEMO / 'examples'} --split examples --limit 1 --device cpu --out {out}"
    assert main(["--run", str(run), *options.split()]) == 2
    assert "000000000000" in capsys.readouterr().err and not out.exists()
    assert main(["--run", str(run), *options.split(), "--force"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["differs"][:19] for row in said["results"]] == ["", "prompt 000000000000"]
    assert said["best"] == "base"  # whatever the other scores
    assert "| checkpoint-9* |" in (out / "report.md").read_text()
    file = out / "predictions" / run.name / "checkpoint-9.jsonl"
    options = f"--predictions {file} --data {DEMO / 'examples'} --split examples --limit 1"
    assert main(options.split()) == 2
    assert "not comparable" in capsys.readouterr().err
