"""A checkpoint runs as its card says, or is refused, or flagged."""

import json
import shutil
from dataclasses import replace

import pytest

from eval.__main__ import main
from eval.config import EvalConfig
from eval.sweep.card_check import mismatches
from eval.sweep.targets import targets
from nutrition_vl.models.checkpoints import CARD, DEMO, read_card


def changed(folder, **entries):
    """A copy of the demo's adapter, with other entries on its card."""
    copy = folder / "checkpoint-9"
    shutil.copytree(DEMO / "adapter", copy)
    card = json.loads((copy / CARD).read_text()) | entries
    (copy / CARD).write_text(json.dumps(card))
    return copy


def test_the_demo_runs_as_it_was_trained():
    assert mismatches(read_card(DEMO / "adapter"), DEMO / "adapter", "cpu") == []


@pytest.mark.parametrize(
    ("entry", "mismatch"),
    [
        ({"prompt": "000000000000"}, "prompt 000000000000"),
        ({"max_tokens": 7}, "token budget 7 on the card"),
        ({"attention": "eager"}, "attention eager on the card, sdpa here"),
    ],
)
def test_settings_that_differ_are_named(entry, mismatch):
    card = replace(read_card(DEMO / "adapter"), **entry)
    (found,) = mismatches(card, DEMO / "adapter", "cpu")
    assert found.startswith(mismatch)


def test_a_broken_card_is_never_forced(tmp_path):
    copy = changed(tmp_path, prompt="000000000000", step="nine")
    with pytest.raises(ValueError, match="has a wrong type of step"):
        targets(EvalConfig(checkpoint=str(copy), force=True))


@pytest.mark.model
def test_a_forced_row_is_starred_and_stays_so(tmp_path, capsys):
    run, out = changed(tmp_path, prompt="000000000000").parent, tmp_path / "out"
    options = f"--data {DEMO / 'examples'} --split examples --limit 1 --device cpu --out {out}"
    assert main(["--run", str(run), *options.split()]) == 2
    assert "000000000000" in capsys.readouterr().err and not out.exists()
    assert main(["--run", str(run), *options.split(), "--force"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["differs"][:19] for row in printed["results"]] == ["", "prompt 000000000000"]
    assert printed["best"] == "base"  # whatever the other scores
    assert "| checkpoint-9* |" in (out / "report.md").read_text()
    assert main(["--run", str(run), *options.split()]) == 2  # though no photo is missing
    (file,) = (out / "predictions" / run.name).glob("checkpoint-9-*.jsonl")
    options = f"--predictions {file} --data {DEMO / 'examples'} --split examples --limit 1"
    assert main(options.split()) == 2
    assert "not comparable" in capsys.readouterr().err
