"""What a run may go on from; test_training.py kills one and goes on for real."""

import json
import shutil

import pytest

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget, budget_of, load_processor
from tests.helpers.labelled import label
from tests.helpers.small_run import TABLE, command
from training.__main__ import main
from training.run import folder as runs
from training.settings.config import TrainConfig


@pytest.fixture
def base(tmp_path):
    """A folder like a download of the hub's Qwen2-VL, with its 16,384 tokens per photo."""
    folder = tmp_path / "base"
    processor = load_processor(DEMO)
    pictures = processor.image_processor
    pictures.size = PixelBudget(4, 16384).size(pictures)
    processor.save_pretrained(folder)
    shutil.copy(DEMO / "config.json", folder)
    return folder


def test_a_folder_of_a_hub_model_gets_600_tokens_and_one_of_ours_its_own(base):
    def tokens(name, **settings):
        config = TrainConfig(use_cpu=True, model_name_or_path=str(name), **settings)
        return budget_of(runs.load_fitting_processor(config)).max_tokens

    assert tokens(base) == 600
    assert tokens(base, max_image_tokens=900) == 900
    assert tokens("demo") == tokens(DEMO) < 600


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "llava"])
def test_another_family_is_named_before_anything_is_loaded(family, base, tmp_path, capsys):
    file = base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": family}))
    data = label(tmp_path / "set", [TABLE])
    asked = {"model_name_or_path": base, "preflight_only": True}
    assert main(command(data, tmp_path / "run", **asked)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"is not a Qwen2-VL model: its config.json says '{family}'" in said


WHOLE = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth")


@pytest.mark.parametrize("lost", WHOLE)
def test_a_checkpoint_that_lost_its_state_is_refused(lost, tmp_path, capsys):
    """transformers would begin optimiser and schedule anew, in silence."""
    data, checkpoint = label(tmp_path / "set", [TABLE]), tmp_path / "run" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    for name in {*WHOLE} - {lost}:
        (checkpoint / name).touch()
    for asked in (True, checkpoint):
        assert main(command(data, tmp_path / "run", resume_from_checkpoint=asked)) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"{checkpoint} lacks {lost.split('.')[0]}" in said
        assert "resume from another checkpoint or start again" in said
