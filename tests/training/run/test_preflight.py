"""The checks before training: golden counts of the real 7B, and every way to stop in time."""

import json

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from PIL import Image

from nutrition_vl.data import load_split
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.family import part_of
from nutrition_vl.models.random_weights import random_base, skeleton
from nutrition_vl.models.runtime import detect_runtime
from tests.helpers.labelled import label
from training.plan.parameter_counts import modules_by_target, quantizable, trainable
from training.run import folder as runs
from training.run.preflight import Preflight
from training.settings.config import TrainConfig
from training.settings.recipes import RECIPES, Recipe

TABLE = [(0.25, 0.25, 0.75, 0.5)]


@pytest.fixture(scope="module")
def seven_billion():
    return skeleton("random:7b", DEMO, "main")


@pytest.fixture(scope="module")
def demo():
    return skeleton("demo", DEMO, "main")


@pytest.mark.parametrize(
    ("recipe", "modules", "parameters"),
    [("exp1a", 56, 2_523_136), ("exp1b", 56, 2_523_136), ("exp2", 88, 3_833_856)],
)
def test_what_the_published_experiments_train_on_7b(seven_billion, recipe, modules, parameters):
    counts = trainable(seven_billion, RECIPES[recipe])
    assert (len(counts), counts.total()) == (modules, parameters)


def test_the_7b_is_as_large_as_the_real_one(seven_billion):
    assert sum(weight.numel() for weight in seven_billion.parameters()) == 8_291_375_616
    assert quantizable(seven_billion).total() == 6_525_288_448
    assert {part_of(name) for name in quantizable(seven_billion)} == {"language_model"}
    assert {weight.device for weight in seven_billion.parameters()} == {torch.device("meta")}


def test_the_best_recipe_trains_all_linear_layers_but_the_mergers(seven_billion):
    parts = {part: 0 for part in ("language_model", "visual")}
    for name in trainable(seven_billion, RECIPES["best"]):
        parts[part_of(name)] += 1
    assert parts == {"language_model": 28 * 7, "visual": 32 * 4}


def test_the_originals_regular_expression_in_a_list_matches_here(demo):
    found = modules_by_target(demo, Recipe(("q_proj", r"visual\.blocks\.\d+\.attn\.qkv")))
    assert [len(modules) for modules in found.values()] == [
        demo.config.text_config.num_hidden_layers,
        demo.config.vision_config.depth,
    ]


def test_a_target_that_matches_nothing_stops(demo):
    with pytest.raises(ValueError, match="no module's name ends in 'q_prj'"):
        modules_by_target(demo, Recipe(("v_proj", "q_prj")))


@pytest.mark.parametrize(
    ("quantization", "kind"),
    [("nf4", Linear4bit), ("nf4-single", Linear4bit), ("int8", Linear8bitLt), ("none", None)],
)
def test_random_weights_load_as_the_forecast_says(demo, quantization, kind):
    model = random_base(demo.config, detect_runtime("cpu"), quantization)
    packed = {name for name, layer in model.named_modules() if kind and type(layer) is kind}
    assert packed == (set(quantizable(demo)) if kind else set())


def preflight(folder, out, demo, **settings):
    out.mkdir(exist_ok=True)
    config = TrainConfig(
        model_name_or_path="demo",
        output_dir=str(out),
        use_cpu=True,
        max_image_tokens=16,
        **settings,
    )
    skipped = []
    rows = load_split(folder, "train", skipped=skipped)
    return Preflight(config, rows, runs.load_fitting_processor(config), demo, skipped)


def test_seven_checks_pass_and_say_what_they_found(tmp_path, demo, capsys):
    folder = label(tmp_path / "data", [TABLE, [], TABLE])
    assert len(preflight(folder, tmp_path / "run", demo).run()) == 3
    said = capsys.readouterr().out
    assert [f"[{number}/7]" in said for number in range(1, 8)] == [True] * 7
    assert "3 photos, 2 boxes, 1 photos without one" in said
    assert "3 photos: 2 with a table, 1 without" in said and "2 boxes: 2 nutrition-table" in said
    assert Image.open(tmp_path / "run" / "labels.jpg").width > 1000
    assert "(250,250),(750,500)<|box_end|><|im_end|>" in said
    assert "q_proj" in said and "GiB" in said


def spoil(folder, number):
    """Cuts a photo off behind its header, as a broken download does."""
    file = folder / f"images/pack{number}.jpg"
    file.write_bytes(file.read_bytes()[:-400])


def test_a_rare_broken_photo_is_left_out_and_listed(tmp_path, demo):
    folder = label(tmp_path / "data", [TABLE] * 100, (56, 56))
    spoil(folder, 42)
    checks = preflight(folder, tmp_path / "run", demo)
    _, left_out, reason, *_ = checks.photos()
    assert left_out == "1 left out, listed in skipped.jsonl"
    assert "pack42" in reason and "damaged" in reason
    assert len(checks.rows) == 99 and "pack42" not in checks.rows["id"]
    (line,) = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "pack42"


def test_a_broken_row_counts_with_the_broken_photos(tmp_path, demo):
    folder = label(tmp_path / "data", [TABLE] * 30, (56, 56))
    with (folder / "metadata.jsonl").open("a") as file:
        file.write('{"file_name": \n')
    assert preflight(folder, tmp_path / "run", demo).photos()[1].startswith("1 left out")
    spoil(folder, 12)
    with pytest.raises(ValueError, match=r"2 of 31 photos cannot be read.*line 31: not JSON"):
        preflight(folder, tmp_path / "run", demo).photos()


def test_many_broken_photos_stop_the_run(tmp_path, demo):
    folder = label(tmp_path / "data", [TABLE] * 4, (56, 56))
    spoil(folder, 1)
    with pytest.raises(ValueError, match=r"1 of 4 photos cannot be read, more than 5%.*pack1"):
        preflight(folder, tmp_path / "run", demo).photos()


def test_what_does_not_fit_is_refused_with_the_next_step_down(tmp_path, seven_billion):
    folder = label(tmp_path / "data", [TABLE])
    settings = {"per_device_train_batch_size": 4096, "regroup_batches": False}
    checks = preflight(folder, tmp_path / "run", seven_billion, **settings)
    checks.lengths = [1000]
    with pytest.raises(ValueError, match=r"GiB.*use --per_device_train_batch_size 2048"):
        checks.memory()
