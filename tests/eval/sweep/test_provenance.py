"""The key of a predictions file changes with content, and with nothing else."""

import json
import shutil
from dataclasses import replace

import pytest

from eval.config import EvalConfig
from eval.sweep.provenance import provenance
from eval.sweep.targets import targets
from nutrition_vl import prompts
from nutrition_vl.confidence import Calibration
from nutrition_vl.models.checkpoints import DEMO


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(DEMO / "adapter", tmp_path / "checkpoint-9")


def keys(checkpoint, **settings):
    """The keys of the base and of the checkpoint."""
    config = EvalConfig(checkpoint=str(checkpoint), data="some/photos", split="val")
    return [target.key for target in targets(replace(config, **settings))]


def rewrite(file):
    file.write_bytes(file.read_bytes() + b" ")


def test_a_copy_keeps_its_keys(checkpoint, tmp_path):
    before = keys(checkpoint)
    for file in checkpoint.iterdir():
        file.touch()
    assert keys(checkpoint) == before
    copy = shutil.copytree(checkpoint, tmp_path / "elsewhere" / "checkpoint-10")
    assert keys(copy) == before


def test_the_demo_of_this_machine_has_one_key_per_row():
    assert len({*keys("demo")}) == 2


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_another_adapter_has_another_key_and_the_base_keeps_its_own(checkpoint, name):
    base, adapter = keys(checkpoint)
    rewrite(checkpoint / name)
    assert keys(checkpoint)[0] == base
    assert keys(checkpoint)[1] != adapter


def test_another_token_budget_changes_the_base_too(checkpoint):
    before = keys(checkpoint)
    rewrite(checkpoint / "processor_config.json")
    assert not {*keys(checkpoint)} & {*before}


def test_a_calibration_in_between_changes_the_key(checkpoint):
    before = keys(checkpoint)
    Calibration.load(checkpoint).save(checkpoint)  # the same once more
    assert keys(checkpoint) == before
    Calibration(2.0, 0.5, 9).save(checkpoint)
    assert keys(checkpoint)[1] != before[1]


def test_prompt_split_data_and_quantization_change_the_key(checkpoint, monkeypatch):
    every = [keys(checkpoint)]
    every.append(keys(checkpoint, split="test"))
    every.append(keys(checkpoint, data="other/photos"))
    every.append(keys(checkpoint, quantization=["none"]))
    monkeypatch.setattr(prompts, "fingerprint", lambda: "another")
    every.append(keys(checkpoint))
    assert len({key for pair in every for key in pair}) == 10


def test_a_folder_of_photos_is_known_by_its_name_wherever_it_lies(checkpoint, tmp_path):
    folders = [tmp_path / "here" / "photos", tmp_path / "there" / "photos"]
    for folder in folders:
        folder.mkdir(parents=True)
    assert keys(checkpoint, data=str(folders[0])) == keys(checkpoint, data=str(folders[1]))


def test_each_quantization_makes_a_row_and_the_own_one_keeps_its_name(checkpoint):
    config = EvalConfig(checkpoint=str(checkpoint), quantization=["nf4", "none", "nf4"])
    rows = [(target.name, target.quantization) for target in targets(config)]
    assert rows == [("base", "nf4"), ("checkpoint-9", "nf4"), ("checkpoint-9@none", "none")]
    own, *_ = (target.key for target in targets(replace(config, quantization=())))
    assert own == targets(config)[0].key


def test_a_card_says_the_quantization(checkpoint):
    card = json.loads((checkpoint / "nutrition_vl.json").read_text())
    (checkpoint / "nutrition_vl.json").write_text(json.dumps(card | {"quantization": "int8"}))
    rows = targets(EvalConfig(checkpoint=str(checkpoint)))
    assert {target.quantization for target in rows} == {"int8"}
    assert {target.name for target in rows} == {"base", "checkpoint-9"}


def test_provenance_names_the_files_of_base_and_adapter(checkpoint):
    config = EvalConfig(checkpoint=str(checkpoint), data="some/photos")
    bare, tuned = (provenance(target, config) for target in targets(config))
    assert "model.safetensors" in bare["base"] and bare["base"] == tuned["base"]
    assert "adapter_model.safetensors" in tuned["checkpoint"]
    assert "adapter_model.safetensors" not in bare["checkpoint"]
