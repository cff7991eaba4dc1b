"""Whatever saves time and memory changes no loss; what does not apply is off and says why."""

from dataclasses import replace

import pytest
import torch

from nutrition_vl.files import read_jsonl
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import load_base
from nutrition_vl.models.random_weights import skeleton
from nutrition_vl.models.runtime import detect_runtime
from tests.helpers.labelled import label, paint
from training.__main__ import main
from training.plan.apply import ApplyPlan
from training.plan.choose import choose
from training.plan.forecast import forecast
from training.plan.parameter_counts import trainable
from training.plan.plan import Plan, Workload
from training.settings.config import TrainConfig

TABLE = (0.25, 0.25, 0.75, 0.5)
BOXES = [[TABLE], [], [TABLE, (0.1, 0.6, 0.4, 0.9)], [TABLE], [TABLE], [TABLE], [], [TABLE]]
PLAIN = {"cache_features": False, "lean_layers": False, "regroup_batches": False}
SETTINGS = {
    "model_name_or_path": "demo",
    "use_cpu": True,
    "disable_tqdm": True,
    "max_image_tokens": 16,
    "max_steps": 4,
    "save_strategy": "no",
    "learning_rate": 0.01,
    "lora_dropout": 0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = label(tmp_path_factory.mktemp("data") / "set", BOXES)
    for number, size in ((1, (84, 140)), (4, (140, 70))):  # of other shapes
        paint(size, BOXES[number], seed=50).save(folder / "images" / f"pack{number}.jpg")
    return folder


def trained(data, run, **settings):
    """The log of a run."""
    words = SETTINGS | {"data_path": data, "output_dir": run} | settings
    assert main([word for key, value in words.items() for word in (f"--{key}", str(value))]) == 0
    return read_jsonl(run / "metrics.jsonl")


def curve(log):
    return [number for row in log for number in (row["loss"], row["grad_norm"])]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"low_memory": True, "log_memory": True},
        {"lora_target_modules": "(gate|up|down)_proj"},
    ],
    ids=["default", "low", "mlp"],
)
def test_all_of_it_on_trains_as_all_of_it_off(data, tmp_path, settings, capsys):
    off = trained(data, tmp_path / "off", **(settings | {"low_memory": False, "plain": True}))
    assert "visual features computed once" not in capsys.readouterr().out
    on = trained(data, tmp_path / "on", **settings)
    assert "visual features computed once" in capsys.readouterr().out
    assert curve(on) == pytest.approx(curve(off), rel=1e-4)
    if "log_memory" in settings:
        assert all(row["allocated_gib"] > 0 and row["reserved_gib"] > 0 for row in on)


@pytest.mark.slow
def test_the_plain_path_is_trl_s_own(data, tmp_path, monkeypatch):
    monkeypatch.delattr("training.run.train.ApplyPlan")  # the one way in for every engine
    assert len(trained(data, tmp_path / "run", plain=True)) == 4


@pytest.mark.slow
def test_with_vision_adapters_photos_are_seen_anew_and_it_is_said(data, tmp_path, capsys):
    off = trained(data, tmp_path / "off", recipe="exp2", **PLAIN)
    capsys.readouterr()
    on = trained(data, tmp_path / "on", recipe="exp2")
    said = capsys.readouterr().out
    assert "visual features in every epoch: the vision tower is trained" in said
    assert not (tmp_path / "features").exists()
    assert curve(on) == pytest.approx(curve(off), rel=1e-4)


@pytest.fixture(scope="module")
def seven_billion():
    bones = skeleton("random:7b", DEMO, "main")
    return Workload(bones, trainable(bones, TrainConfig(use_cpu=True).lora), 730, 2400, 32)


def on_a_gpu(**settings):
    """Settings as an H100 would have them."""
    config = TrainConfig(use_cpu=True, output_dir="runs/none", **settings)
    config.runtime = replace(config.runtime, device=torch.device("cuda"), dtype=torch.bfloat16)
    config.optim = "paged_adamw_8bit"
    return config


def planned(config, work, monkeypatch, free=80e9):
    monkeypatch.setattr("training.plan.choose.free_memory", lambda _: free)
    return choose(config, work)


@pytest.mark.parametrize(
    ("settings", "photos", "kept"),
    [
        ({"memory_limit": 80}, 4, 28),
        ({"memory_limit": 8}, 4, 6),
        ({"memory_limit": 5.5}, 1, 5),
        ({"low_memory": True}, 2, 3),
        ({"low_memory": True, "memory_limit": 1}, 1, 0),  # the least there is
        ({"memory_limit": 8, "regroup_batches": False}, 1, 28),
        ({"gradient_checkpointing": False, "memory_limit": 8}, 1, 28),
    ],
)
def test_a_7b_fills_what_memory_allows(seven_billion, monkeypatch, settings, photos, kept):
    config = on_a_gpu(**settings)
    plan = planned(config, seven_billion, monkeypatch)
    assert (plan.micro_batch, plan.layers_kept) == (photos, kept)
    assert plan.micro_batch * plan.accumulation == 4
    if photos > 1:
        assert plan.memory < (config.memory_limit or 4.6) * 1e9


def test_the_forecast_is_near_what_an_h100_took(seven_billion):
    """7.54 GB allocated at the peak, docs/benchmarks/memory-h100/memory.json, and 7.95 reserved."""
    work = replace(seven_billion, tokens=725, labels=48)
    on = dict.fromkeys(("cache_features", "fast_layers", "cuda_graphs", "offload_embeddings"), True)
    plan = Plan(4, 1, layers_kept=6, **on)
    assert 7.54e9 < sum(forecast(on_a_gpu(), work, plan).values()) < 7.95e9


def test_low_memory_goes_without_graphs_that_hold_what_a_step_takes(seven_billion, monkeypatch):
    assert planned(on_a_gpu(), seven_billion, monkeypatch).cuda_graphs
    assert not planned(on_a_gpu(low_memory=True), seven_billion, monkeypatch).cuda_graphs
    assert not planned(TrainConfig(use_cpu=True), seven_billion, monkeypatch).cuda_graphs


def test_a_full_card_gets_the_smallest_plan(seven_billion, monkeypatch):
    assert planned(on_a_gpu(), seven_billion, monkeypatch, free=1e9).micro_batch == 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"attention": "eager"}, "plain layers: eager attention was asked for"),
        ({"quantization": "int8"}, "plain layers: int8 has a backward of its own"),
        ({"lora_bias": "lora_only"}, "plain layers: biases are trained"),
        ({"lean_layers": False}, "plain layers: --lean_layers False"),
        ({"cache_features": False}, "visual features in every epoch: --cache_features False"),
    ],
)
def test_what_is_off_says_why(seven_billion, monkeypatch, settings, reason):
    assert planned(on_a_gpu(**settings), seven_billion, monkeypatch).notes == (reason,)


def test_a_full_disk_keeps_no_features(seven_billion, monkeypatch):
    work = replace(seven_billion, image_tokens=10**12)
    (note,) = planned(on_a_gpu(), work, monkeypatch).notes
    assert note.startswith("visual features in every epoch: they take 6675720.2 GiB")


def test_fsdp_leaves_everything_as_it_is(seven_billion, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    plan = planned(on_a_gpu(low_memory=True), seven_billion, monkeypatch)
    assert not (plan.cache_features or plan.fast_layers)
    assert not (plan.offload_embeddings or plan.offload_lm_head)


def test_afterwards_the_model_is_what_it_was(seven_billion):
    model = load_base(DEMO, detect_runtime("cpu"))
    before, ids = vars(model).keys() - {"training"}, torch.arange(5)[None]
    wanted = model(input_ids=ids).logits
    names = ("cache_features", "fast_layers", "offload_embeddings", "offload_lm_head")
    plan = Plan(1, 1, layers_kept=2, **dict.fromkeys(names, True))
    apply = ApplyPlan(plan, model, restore_on_save=True)
    apply.begin(torch.device("cpu"))
    assert model(input_ids=ids).logits.equal(wanted)
    apply.on_save()
    assert model(input_ids=ids).logits.equal(wanted)
    changed = [name for name, module in model.named_modules() if name and "forward" in vars(module)]
    assert changed == [] and vars(model).keys() - {"training"} <= before | {"forward"}
    assert apply.changes is None
