"""Variants of LoRA: what is saved detects on the plain base as the model in training did."""

import math

import pytest
import torch
from peft import get_peft_model

from nutrition_vl.files import read_jsonl
from nutrition_vl.models.checkpoints import DEMO, read_card
from nutrition_vl.models.load import attach, load_base
from nutrition_vl.models.random_weights import skeleton
from nutrition_vl.models.runtime import detect_runtime
from tests.helpers.labelled import label
from tests.helpers.small_run import TABLE, command, losses
from training.__main__ import main
from training.plan.parameter_counts import modules_by_target
from training.run.optimizer import parameter_groups
from training.run.pissa import to_plain_lora
from training.settings.config import TrainConfig
from training.settings.recipes import QV, RECIPES, Recipe, lora_config

SHORT = {"max_steps": 2, "save_steps": 2, "warmup_steps": 0, "lora_dropout": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return label(tmp_path_factory.mktemp("data") / "set", [TABLE, [], TABLE, TABLE])


@pytest.mark.parametrize("part", ["vision", "merger"])
def test_a_rate_where_no_adapter_is_changes_nothing_and_is_refused(part, data, tmp_path, capsys):
    rate = f"{part}_learning_rate"
    assert main(command(data, tmp_path / "run", **{rate: 1e-4})) == 2
    assert f"--{rate} needs an adapter there: use --recipe vision" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "olora", "quantization": "none"},
        {"init_lora_weights": "pissa", "quantization": "none"},
        {"loraplus_lr_ratio": 4},
        {"recipe": "vision", "vision_learning_rate": 1e-3, "merger_learning_rate": 1e-4},
    ],
    ids=["rslora", "dora", "gaussian", "olora", "pissa", "lora+", "vision"],
)
def test_every_variant_trains_and_is_loaded_again(settings, data, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command(data, run, **SHORT, **settings)) == 0
    note = "plain layers: DoRA has a forward pass of its own"
    assert (note in capsys.readouterr().out) == ("use_dora" in settings)
    (_, first), (_, second) = losses(run)
    assert first != second
    folder = run / "checkpoint-2"
    assert all(
        read_card(folder).settings[key] == settings[key]
        for key in settings.keys() - {"recipe", "quantization"}
    )
    base = load_base(DEMO, detect_runtime("cpu"), quantization="none")
    model = attach(base, folder, "trained")
    config = model.peft_config["trained"]
    assert config.use_dora == settings.get("use_dora", False)
    assert config.use_rslora == settings.get("use_rslora", False)
    doubled = settings.get("init_lora_weights") in ("pissa", "olora")
    assert config.r == RECIPES[settings.get("recipe", "exp1a")].rank * (2 if doubled else 1)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_an_adapter_that_changed_the_base_is_saved_for_the_unchanged_one(init, tmp_path):
    runtime, ids = detect_runtime("cpu"), torch.arange(20)[None]
    trained = get_peft_model(
        load_base(DEMO, runtime, quantization="none"), lora_config(Recipe(QV, init=init), 0, "none")
    )
    first = {}
    for name, weight in trained.named_parameters():
        if weight.requires_grad:
            first[name.replace(".default", "")] = weight.detach().clone()
            weight.data += 0.02 * torch.randn_like(weight)
    wanted = trained(input_ids=ids).logits
    trained.save_pretrained(tmp_path)
    to_plain_lora(tmp_path, first)
    plain = attach(load_base(DEMO, runtime, quantization="none"), tmp_path, "plain")
    torch.testing.assert_close(plain(input_ids=ids).logits, wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_what_is_saved_as_plain_lora_is_not_resumed(data, tmp_path, capsys):
    pissa = {"init_lora_weights": "pissa", "quantization": "none"}
    assert main(command(data, tmp_path / "run", **SHORT, **pissa)) == 0
    assert main(command(data, tmp_path / "run", **SHORT, **pissa, resume_from_checkpoint=True)) == 2
    assert "start again in another --output_dir" in capsys.readouterr().err


def test_each_part_has_its_rate_and_b_learns_faster():
    config = TrainConfig(
        use_cpu=True,
        recipe="vision",
        learning_rate=1e-3,
        vision_learning_rate=1e-4,
        merger_learning_rate=1e-5,
        loraplus_lr_ratio=10,
    )
    with torch.device("meta"):
        model = get_peft_model(skeleton("demo", DEMO, "main"), lora_config(config.lora, 0, "none"))
    groups = parameter_groups(model, config, decayed=set())
    names = {id(weight): name for name, weight in model.named_parameters()}
    rates = {names[id(weight)]: group["lr"] for group in groups for weight in group["params"]}
    assert len(rates) == sum(weight.requires_grad for weight in model.parameters())
    for name, rate in rates.items():
        part = 1e-5 if ".merger." in name else 1e-4 if ".visual." in name else 1e-3
        assert math.isclose(rate, part * (10 if "lora_B" in name else 1)), name


@pytest.mark.slow
def test_the_log_and_the_schedule_follow_the_first_rate(data, tmp_path):
    settings = {"loraplus_lr_ratio": 4, "lr_scheduler_type": "constant"}
    assert main(command(data, tmp_path / "run", **SHORT, **settings)) == 0
    rates = [row["learning_rate"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    assert rates == [0.01, 0.01]


def test_all_linear_means_every_linear_layer_and_vision_the_merger_too():
    model = skeleton("demo", DEMO, "main")
    linear = {
        name
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and name != "lm_head"
    }
    for config in (
        TrainConfig(use_cpu=True, lora_target_modules=["all-linear"]),
        TrainConfig(use_cpu=True, recipe="vision"),
    ):
        modules = modules_by_target(model, config.lora).values()
        assert {name for names in modules for name in names} == linear


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"init_lora_weights": "pissa"}, "--quantization none"),
        ({"init_lora_weights": "loftq"}, "unknown init_lora_weights 'loftq'"),
        ({"init_lora_weights": "olora", "quantization": "none", "use_dora": True}, "plain LoRA"),
        ({"loraplus_lr_ratio": 0}, "--loraplus_lr_ratio must be above 0"),
    ],
)
def test_variants_that_cannot_work_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(use_cpu=True, **settings)
