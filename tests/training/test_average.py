"""The mean of adapters is the mean of their updates, exact or of the rank that was asked for."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from nutrition_vl.data.photos import open_photo
from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import DEMO, read_card, write_card
from training.average import main, mean_factors


def adapters(count, rank=4):
    torch.manual_seed(0)
    return [{"q": (torch.randn(rank, 20), torch.randn(30, rank))} for _ in range(count)]


def updates(factors):
    down, up = factors["q"]
    return up @ down


def test_the_mean_is_exact_with_ranks_added_up():
    three = adapters(3)
    mean, error = mean_factors(three)
    torch.testing.assert_close(updates(mean), sum(map(updates, three)) / 3)
    assert error == 0 and mean["q"][0].shape == (12, 20)


@pytest.mark.parametrize("rank", [1, 5, 8, 12])
def test_a_lower_rank_is_the_best_approximation_and_its_error_is_told(rank):
    three = adapters(3)
    whole = sum(map(updates, three)) / 3
    mean, error = mean_factors(three, rank)
    sizes = torch.linalg.svdvals(whole)
    best = (sizes[rank:].square().sum() / sizes.square().sum()).sqrt().item()
    assert mean["q"][0].shape == (rank, 20)
    assert error == pytest.approx(best, abs=1e-4)
    assert ((updates(mean) - whole).norm() / whole.norm()).item() == pytest.approx(best, abs=1e-4)


@pytest.fixture
def other(tmp_path):
    """The embedded adapter with twice its effect, at another scale and rank."""
    place = tmp_path / "other"
    shutil.copytree(DEMO / "adapter", place)
    config = json.loads((place / "adapter_config.json").read_text())
    text = json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]})
    (place / "adapter_config.json").write_text(text)
    return place


@pytest.mark.model
def test_a_mean_scores_like_any_checkpoint(other, tmp_path, capsys):
    out = tmp_path / "mean"
    assert main(["demo", str(other), "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["relative_error"] == 0
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 16
    was, now = (load_file(place / "adapter_model.safetensors") for place in (DEMO / "adapter", out))
    key = next(key.removesuffix(".lora_A.weight") for key in was if key.endswith("lora_A.weight"))
    one, mean = (w[f"{key}.lora_B.weight"] @ w[f"{key}.lora_A.weight"] for w in (was, now))
    configs = [
        json.loads((p / "adapter_config.json").read_text()) for p in (DEMO / "adapter", other)
    ]
    scales = [config["lora_alpha"] / config["r"] for config in configs]
    assert scales[0] != scales[1]
    torch.testing.assert_close(mean, sum(scales) / 2 * one.float())
    detector = Detector.load(out, device="cpu")
    (answer,) = detector.detect([open_photo(DEMO / "examples" / "pack_1.jpg")])
    assert len(answer.detections)
    assert "python -m training.average demo" in (out / "README.md").read_text()


def test_adapters_that_do_not_fit_together_are_refused(other, tmp_path, capsys):
    out = ["--out", str(tmp_path / "mean")]
    assert main(["demo", *out]) == 2
    assert "nothing to average" in capsys.readouterr().err
    write_card(other, replace(read_card(other), max_tokens=77))
    assert main(["demo", str(other), *out]) == 2
    assert "max_tokens 77 and demo has" in capsys.readouterr().err
    write_card(other, read_card(DEMO / "adapter"))
    file = other / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({key: weight for key, weight in weights.items() if "q_proj" in key}, file)
    assert main(["demo", str(other), *out]) == 2
    assert "on different modules" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
