"""Cards, names and orders of checkpoints, and what is said when one is not there."""

import json
import shutil
from dataclasses import replace

import pytest

from nutrition_vl import prompts
from nutrition_vl.models.checkpoints import (
    CARD,
    DEMO,
    Card,
    Checkpoint,
    discover,
    list_checkpoints,
    read_card,
    resolve,
    resolve_adapter,
    write_card,
)

CARD_OF_DEMO = Card("demo", "llm-attention", 7, prompts.fingerprint(), 192)


def make_checkpoint(folder, card=CARD_OF_DEMO):
    """What resolving looks at: PEFT's configuration and a card."""
    folder.mkdir(parents=True)
    shutil.copy(DEMO / "adapter" / "adapter_config.json", folder)
    write_card(folder, card)
    return folder


@pytest.fixture
def run(tmp_path):
    """A run whose names sort 1000, 271, 9."""
    for step in (1000, 271, 9):
        make_checkpoint(tmp_path / "run" / f"checkpoint-{step}")
    return tmp_path / "run"


def test_a_card_comes_back_as_it_was_written(tmp_path):
    card = Card(
        "Qwen/Qwen2-VL-7B-Instruct",
        "llm-all",
        271,
        prompts.fingerprint(),
        600,
        dataset="somewhere",
        versions={"torch": "2.11"},
    )
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"base_model": "demo",\n"recipe": }', r"nutrition_vl\.json, line 2: not JSON"),
        ("[]", "holds a list instead of a JSON object"),
        ('{"base_model": "demo"}', "lacks max_tokens, prompt, recipe, step"),
    ],
)
def test_a_broken_card_is_refused(tmp_path, text, message):
    (tmp_path / CARD).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"colour": "red"}, "has the unknown colour"),
        ({"step": "seven"}, "has a wrong type of step"),
        ({"prompt": "0123456789ab"}, f"0123456789ab but this version says {prompts.fingerprint()}"),
    ],
)
def test_a_card_that_says_something_else_is_refused(tmp_path, entry, message):
    write_card(tmp_path, CARD_OF_DEMO)
    (tmp_path / CARD).write_text(json.dumps(json.loads((tmp_path / CARD).read_text()) | entry))
    with pytest.raises(ValueError, match=message):
        read_card(tmp_path)


def test_a_card_of_another_prompt_is_read_where_that_is_wanted(tmp_path):
    card = replace(CARD_OF_DEMO, prompt="0123456789ab")
    folder = make_checkpoint(tmp_path / "checkpoint-7", card)
    assert read_card(folder, check_prompt=False) == card
    assert resolve(folder, check_prompt=False).adapter == folder
    with pytest.raises(ValueError, match="0123456789ab"):
        resolve(folder)


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no nutrition_vl\.json"):
        read_card(tmp_path)


def test_checkpoints_are_in_the_order_of_their_steps(run):
    (run / "checkpoint-500").touch()
    (run / "checkpoint-last").mkdir()
    names = [path.name for path in list_checkpoints(run)]
    assert names == ["checkpoint-9", "checkpoint-271", "checkpoint-1000"]


def test_demo_is_a_base_with_an_adapter():
    assert resolve("demo") == Checkpoint("demo", str(DEMO), DEMO / "adapter", second_look=True)


def test_a_run_is_its_last_checkpoint_or_its_best(run):
    assert resolve(run).adapter == run / "checkpoint-1000"
    (run / "best").write_text("checkpoint-271\n")
    assert resolve(str(run)) == Checkpoint(str(run), str(DEMO), run / "checkpoint-271")


def test_a_best_that_is_gone_is_named_with_those_there(run):
    (run / "best").write_text("checkpoint-8")
    with pytest.raises(
        FileNotFoundError, match="'checkpoint-8', but there are checkpoint-9, check"
    ):
        resolve(run)


def test_a_checkpoint_names_its_base_and_revision(tmp_path):
    card = Card("some/base", "r", 1, prompts.fingerprint(), 600, base_revision="abc")
    folder = make_checkpoint(tmp_path / "checkpoint-1", card)
    assert resolve(folder) == Checkpoint(str(folder), "some/base", folder, "abc")


def test_a_base_is_a_folder_or_a_hub_id(tmp_path):
    (tmp_path / "config.json").touch()
    assert resolve(tmp_path) == Checkpoint(str(tmp_path), str(tmp_path.resolve()))
    assert resolve("Qwen/Qwen2-VL-2B-Instruct").base == "Qwen/Qwen2-VL-2B-Instruct"


def test_what_is_no_checkpoint_is_described_with_what_is_there_and_what_to_do(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="run holds checkpoint-1000, checkpoint-271, check"):
        resolve(run / "checkpoint-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds nothing; name demo, a run"):
        resolve(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint demoo"):
        resolve("demoo")


def test_a_mistyped_run_is_not_looked_for_on_the_hub(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint run/checkpoint-8"):
        resolve("run/checkpoint-8")


def test_an_adapter_is_one_of_a_run_or_a_checkpoint(run, tmp_path):
    found, folder = resolve_adapter(run)
    assert found == resolve(run) and folder == run / "checkpoint-1000"
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match="is a base without an adapter: name a run or a check"):
        resolve_adapter(tmp_path)


def test_a_run_that_is_not_there_is_no_base_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint runs/nothere: there is no folder r"):
        resolve_adapter("runs/nothere")


def test_adapters_are_found_below_a_folder_of_runs(run, tmp_path):
    assert discover(tmp_path / "nowhere") == ["demo"]
    made = [str(run / f"checkpoint-{step}") for step in (9, 271, 1000)]
    assert discover(tmp_path) == ["demo", *made]
    assert discover(run) == ["demo", *made]


def test_only_adapters_of_the_base_at_hand_are_offered(run, tmp_path):
    other = Card("some/base", "r", 1, prompts.fingerprint(), 600)
    alien = make_checkpoint(tmp_path / "other" / "checkpoint-1", other)
    made = [str(run / f"checkpoint-{step}") for step in (9, 271, 1000)]
    assert discover(tmp_path, str(DEMO)) == ["demo", *made]
    assert discover(tmp_path, "some/base") == [str(alien)]
