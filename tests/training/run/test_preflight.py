"""The checks before training: golden counts of the real 7B, and every way to stop in time."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt

from nutrition_vl.data import load_split
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import load_base
from nutrition_vl.models.random_weights import random_base, skeleton
from nutrition_vl.models.runtime import detect_runtime
from tests.helpers.labelled import label
from training.plan.forecast import Extent, foresee, step_down
from training.plan.parameter_counts import matched, part_of, quantizable, trainable
from training.run import folder as runs
from training.run.preflight import Preflight
from training.settings.config import TrainConfig
from training.settings.recipes import RECIPES, Recipe

TABLE = [(0.25, 0.25, 0.75, 0.5)]
ROW = Extent(tokens=730, patches=2400, labels=30)


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
    found = matched(demo, Recipe(("q_proj", r"visual\.blocks\.\d+\.attn\.qkv")))
    assert [len(modules) for modules in found.values()] == [
        demo.config.text_config.num_hidden_layers,
        demo.config.vision_config.depth,
    ]


def test_a_target_that_matches_nothing_stops(demo):
    with pytest.raises(ValueError, match="no module's name ends in 'q_prj'"):
        matched(demo, Recipe(("v_proj", "q_prj")))


def on_gpu(**settings):
    """The settings as they would be on a Hopper GPU; nothing is run with them."""
    config = TrainConfig(use_cpu=True, **settings)
    config.optim = "paged_adamw_8bit"
    config.runtime = replace(config.runtime, device=torch.device("cuda"), dtype=torch.bfloat16)
    return config


def test_the_forecast_of_the_published_recipe_on_7b(seven_billion):
    counts = trainable(seven_billion, RECIPES["exp1a"])
    need = foresee(on_gpu(), seven_billion, counts, ROW)
    # 6.525e9 weights of NF4, each half a byte and a scale; 1.766e9 of two bytes.
    assert need.weights == 6_525_288_448 * (0.5 + 1 / 64 + 1 / 4096) + 1_766_087_168 * 2
    assert need.training == 2_523_136 * (4 + 4 + 2)
    # The largest layer in bfloat16, and cuBLAS.
    assert need.workspace == 18944 * 3584 * 2 + 64 * 2**20
    # 28 inputs; then one layer: norms, attention, MLP and two adapters with dropout; its gradients.
    one = 4 * 3584 + (3584 + 512 + 512 + 3584) + 3 * 18944 + 2 * 3584 * 1.5
    back = 2 * 3584 + 3 * 18944
    pixels = 2400 * 3 * 2 * 14 * 14
    assert need.activations == 730 * 2 * (28 * 3584 + one + back) + 4 * pixels
    assert str(need).startswith("6.99 GiB (weights 6.42, training 0.02, activations 0.36,")


def test_training_the_vision_tower_takes_its_layers_too(seven_billion):
    def activations(recipe, **settings):
        counts = trainable(seven_billion, RECIPES[recipe])
        return foresee(on_gpu(**settings), seven_billion, counts, ROW).activations

    assert activations("exp2") - activations("exp1a") == 2400 * 2 * 32 * 1280
    whole = {"gradient_checkpointing": False}
    # Norms, queries and keys, their projection, output of attention; MLP; one adapter with dropout.
    one = 4 * 1280 + 2 * 1280 + 3 * 1280 + 1280 + 2 * 5120 + 1280 * 1.5
    assert activations("exp2", **whole) - activations("exp1a", **whole) == 2400 * 2 * 32 * one


def test_the_forecast_is_within_a_tenth_of_what_was_measured(seven_billion):
    """7.24 GiB was the peak of three steps of exp2 on an H100 with PyTorch 2.11."""
    counts = trainable(seven_billion, RECIPES["exp2"])
    row = Extent(tokens=691, patches=2384, labels=32)
    need = foresee(on_gpu(), seven_billion, counts, row)
    assert need.total / 2**30 == pytest.approx(7.24, rel=0.1)


def test_the_loss_counts_where_many_words_are_in_it(seven_billion):
    counts = trainable(seven_billion, RECIPES["exp1a"])
    config = on_gpu(per_device_train_batch_size=64)
    few, many = (
        foresee(config, seven_billion, counts, replace(ROW, tokens=10, labels=labels)).activations
        for labels in (1, 1000)
    )
    layer = 64 * 10 * (6 * 3584 + 2 * 3584 + 3 * 18944 + 3 * 3584 + 2 * 3584 + 3 * 18944)
    assert many - few == 2 * (4096 * 32768 - layer)  # TRL's tile of logits is full


def test_a_layer_keeps_what_the_forecast_counts():
    """What autograd really saves of a language layer in bfloat16 without adapters."""
    runtime = replace(detect_runtime("cpu"), dtype=torch.bfloat16)
    model = load_base(DEMO, runtime).requires_grad_(False)
    text, tokens = model.model.language_model, 96
    own = {weight.untyped_storage().data_ptr() for weight in [*text.parameters(), *text.buffers()]}
    states = torch.randn(1, tokens, text.config.hidden_size, dtype=torch.bfloat16)
    states.requires_grad_(True)
    positions = torch.arange(tokens).expand(3, 1, tokens)
    turns = text.rotary_emb(states, positions)
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        text.layers[0](states, position_embeddings=turns, attention_mask=None)
    measured = sum(size for place, size in saved.items() if place not in own)
    config = on_gpu(gradient_checkpointing=False)
    foreseen = foresee(config, model, Counter(), Extent(tokens, 0, 0)).activations
    layers, back = text.config.num_hidden_layers, 2 * text.config.hidden_size
    back += 3 * text.config.intermediate_size
    assert measured == pytest.approx(foreseen / layers - back * tokens * 2 / layers, rel=0.05)


def test_more_memory_for_more_photos_fewer_bits_saved_and_no_checkpointing(seven_billion):
    counts = trainable(seven_billion, RECIPES["exp1a"])

    def total(**settings):
        return foresee(on_gpu(**settings), seven_billion, counts, ROW).total

    plain = total()
    assert plain < total(quantization="nf4-single") < total(quantization="int8")
    assert total(quantization="int8") < total(quantization="none")
    assert plain < total(per_device_train_batch_size=4)
    assert (
        plain
        < total(gradient_checkpointing=False)
        < total(gradient_checkpointing=False, attention="eager")
    )


def test_the_next_step_down_keeps_the_batch():
    config = TrainConfig(use_cpu=True, per_device_train_batch_size=4, regroup_batches=False)
    down = "--per_device_train_batch_size 2 --gradient_accumulation_steps 8"
    assert step_down(config) == down
    assert "checkpointing" in step_down(TrainConfig(use_cpu=True, gradient_checkpointing=False))


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
    assert checks.photos()[1] == "1 left out, listed in skipped.jsonl"
    assert len(checks.rows) == 99 and "pack42" not in checks.rows["id"]
    (line,) = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "pack42"


def test_a_broken_row_counts_with_the_broken_photos(tmp_path, demo):
    folder = label(tmp_path / "data", [TABLE] * 150, (56, 56))
    with (folder / "metadata.jsonl").open("a") as file:
        file.write('{"file_name": \n')
    assert preflight(folder, tmp_path / "run", demo).photos()[1].startswith("1 left out")
    spoil(folder, 42)
    with pytest.raises(ValueError, match=r"2 of 151 photos cannot be read.*line 151: not JSON"):
        preflight(folder, tmp_path / "run", demo).photos()


def test_many_broken_photos_stop_the_run(tmp_path, demo):
    folder = label(tmp_path / "data", [TABLE] * 4, (56, 56))
    spoil(folder, 1)
    with pytest.raises(ValueError, match=r"1 of 4 photos cannot be read, more than 1%.*pack1"):
        preflight(folder, tmp_path / "run", demo).photos()


def test_what_does_not_fit_is_refused_with_the_next_step_down(tmp_path, seven_billion):
    folder = label(tmp_path / "data", [TABLE])
    settings = {"per_device_train_batch_size": 4096, "regroup_batches": False}
    checks = preflight(folder, tmp_path / "run", seven_billion, **settings)
    checks.lengths = [1000]
    with pytest.raises(ValueError, match=r"GiB.*use --per_device_train_batch_size 2048"):
        checks.memory()
