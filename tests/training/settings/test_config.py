"""The settings: the published command line runs as it is, YAML says the same, unknowns fail."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from transformers.utils import is_liger_kernel_available
from trl import SFTConfig

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget
from nutrition_vl.models.random_weights import skeleton
from tests.helpers.labelled import paint
from training.__main__ import main
from training.settings.cli import parse
from training.settings.config import TrainConfig
from training.settings.recipes import RECIPES, adapted, lora_config
from training.settings.unused import UNUSED

ORIGINAL = (
    "--model_name_or_path Qwen/Qwen2-VL-7B-Instruct --data_path nutrition_5k_qa.json"
    " --output_dir runs/exp1a --num_train_epochs 7 --per_device_train_batch_size 1"
    " --gradient_accumulation_steps 4 --gradient_checkpointing True --learning_rate 1e-4"
    " --lr_scheduler_type cosine --warmup_ratio 0.03 --weight_decay 0.01 --bf16 True"
    " --optim paged_adamw_8bit --use_lora True --lora_r 8 --lora_alpha 16"
    " --lora_target_modules q_proj v_proj"
).split()
CONFIGS = Path(__file__).parents[3] / "training" / "configs"


def settings(config):
    """All settings but those of the machine and the moment."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in ("logging_dir", "accelerator_config", "distributed_state")
    }


def test_the_original_command_line_gives_the_original_run():
    config = parse(ORIGINAL)
    assert config.model_name_or_path == "Qwen/Qwen2-VL-7B-Instruct"
    assert (config.num_train_epochs, config.learning_rate, config.weight_decay) == (7, 1e-4, 0.01)
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (1, 4)
    assert (config.warmup_steps, config.lr_scheduler_type.value) == (0.03, "cosine")
    assert config.gradient_checkpointing is True
    assert config.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert (config.lora.targets, config.lora.rank, config.lora.alpha) == (
        ("q_proj", "v_proj"),
        8,
        16,
    )


def test_its_values_are_the_defaults():
    named = {"model_name_or_path", "data_path", "output_dir"}
    named |= {"lora_r", "lora_alpha", "lora_target_modules", "warmup_ratio"}  # by way of the recipe
    original, default = settings(parse(ORIGINAL)), settings(TrainConfig())
    assert {key for key in default if default[key] != original[key]} <= named
    assert TrainConfig().lora == parse(ORIGINAL).lora


def test_the_rest_of_the_recipe_is_the_default():
    config = TrainConfig()
    assert (config.quantization, config.attention, config.max_grad_norm) == ("nf4", "sdpa", 0.3)
    assert (config.lora_dropout, config.lora_bias, config.completion_only_loss) == (
        0.05,
        "none",
        True,
    )
    assert PixelBudget().max_tokens == 600
    assert config.ddp_broadcast_buffers is False  # NCCL sends none of a tower parked on the CPU


def test_yaml_gives_the_same_run_as_the_command_line(tmp_path):
    words = [word.split() for word in " ".join(ORIGINAL).split("--")[1:]]
    entries = {key: yaml.safe_load(values[0]) for key, *values in words}
    entries["lora_target_modules"] = ["q_proj", "v_proj"]
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(entries))
    assert settings(parse(["--config", str(file)])) == settings(parse(ORIGINAL))
    assert settings(parse([f"--config={file}"])) == settings(parse(ORIGINAL))
    assert parse(["--config", str(file), "--lora_r", "4"]).lora.rank == 4


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_shipped_files_hold_only_differences(file):
    config, default = parse(["--config", str(file)]), TrainConfig()
    for key in yaml.safe_load(file.read_text()):
        assert getattr(config, key) != getattr(default, key), key


def test_the_shipped_fsdp_file_is_read_and_names_layers_that_there_are():
    shipped = load_config_from_file(str(CONFIGS / "accelerate/fsdp_qlora.yaml"))
    assert shipped.distributed_type == "FSDP"
    wrapped = shipped.fsdp_config["fsdp_transformer_layer_cls_to_wrap"].split(",")
    there = {type(module).__name__ for module in skeleton("demo", DEMO, "main").modules()}
    assert set(wrapped) <= there


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lora_rank", "8"], "unknown setting --lora_rank"),
        (["--lora_targ", "q_proj"], "unknown setting --lora_targ"),  # nothing is abbreviated
        (["--fp16", "True"], "float16 overflows"),
        (["--use_lora", "False"], "only adapters"),
        (["--warmup_ratio", "3"], "--warmup_ratio must be"),
        (["--lora_dropout", "2"], "--lora_dropout must be"),
        (["--limit", "0"], "--limit must be"),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size must be"),
        (["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps must be"),
        (["--validation_photos", "-3"], "--validation_photos must be"),
        (["--lora_target_modules", "("], "--lora_target_modules ( is no regular expression"),
        (["--lora_target_modules", "(?i)q_proj"], "(?i)q_proj is no regular expression"),
        (
            ["--corrections", "nowhere.jsonl", "--model_name_or_path", "demo"],
            "there is no file nowhere.jsonl of --corrections",
        ),
        (["--resume_from_checkpoint", "nowhere"], "there is no checkpoint nowhere"),
        (["--train_sampling_strategy", "batch_rebalance"], "or group_by_length"),
        (["--eval_strategy", "epoch"], "has no use here: checkpoints are compared by --validation"),
        (["--packing", "True"], "--packing True has no use here"),
        (["--deepspeed", "zero3.json"], "several GPUs share a base by training/configs/accelerate"),
        (["--report_to", "trackerr"], "there is no tracker trackerr"),
        (["--report_to", "neptune"], "--report_to neptune needs its package: pip install neptune"),
        pytest.param(
            ["--use_liger_kernel", "True"],
            "--use_liger_kernel True needs its package: pip install liger-kernel",
            marks=pytest.mark.skipif(is_liger_kernel_available(), reason="Liger is here"),
        ),
        (["--lr_scheduler_type", "reduce_lr_on_plateau"], "must not depend on an evaluation"),
        (["--plain", "True", "--low_memory", "True"], "choose one"),
        (["--optim", "adamw_of_mine"], "adamw_of_mine"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "README.md"], "README.md is not YAML"),
        (["--data_path", "nowhere", "--model_name_or_path", "demo"], "no file or folder nowhere"),
        (["--model_name_or_path", "random:70b"], "there is no random:70b"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, words, tmp_path, capsys):
    assert main([*arguments, "--output_dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("capability", "arguments", "words"),
    [
        ((7, 5), [], "training needs bfloat16 (8.0 or newer)"),
        ((7, 5), ["--fp16", "True"], "float16 overflows"),
        ((9, 0), ["--bf16", "False"], "on a GPU adapters are trained in bfloat16"),
        ((9, 0), ["--attention", "flash_attention_2"], "which is not installed"),
    ],
)
def test_a_wrong_type_for_the_card_is_one_sentence(
    capability, arguments, words, tmp_path, monkeypatch, capsys
):
    """The card is described to PyTorch, not there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Test GPU")
    monkeypatch.setattr("training.settings.config.is_flash_attn_2_available", lambda: False)
    assert main([*arguments, "--output_dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_the_original_command_line_starts_as_it_is(tmp_path, monkeypatch, capsys):
    """On the 7B's shape, from a conversation file, as far as the checks before training."""
    (tmp_path / "photos").mkdir()
    paint((800, 600), [], seed=0).save(tmp_path / "photos/pack.jpg")
    answer = (
        "<|object_ref_start|>nutrition-table<|object_ref_end|>"
        "<|box_start|>(250,250),(750,500)<|box_end|>"
    )
    chat = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": answer}]
    entries = [{"image": "photos/pack.jpg", "conversations": chat}]
    (tmp_path / "nutrition_5k_qa.json").write_text(json.dumps(entries))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "training.run.preflight.free_memory", lambda device: 2**36
    )  # on any machine
    words = [{"Qwen/Qwen2-VL-7B-Instruct": "random:7b"}.get(word, word) for word in ORIGINAL]
    assert main([*words, "--preflight_only", "True", "--use_cpu", "True"]) == 0
    said = capsys.readouterr().out
    assert "1 photos, 1 boxes" in said and "2,523,136 parameters trained" in said
    assert repr(answer + "<|im_end|>\n") in said
    assert "[7/7] memory and disk … ok" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lora_r: 8\nlora_alpha: [1\nx: y\n", " is not YAML: while parsing a flow sequence"),
        ("lora_r: \0", " is not YAML: unacceptable character #x0000"),
        ("- lora_r\n", " must hold settings, one per line"),
        ("8: 8\n", " must hold settings, one per line"),
        ("lora_r: [8, 16]\n", "--lora_r must be a number, not [8, 16]"),
        ("recipe: exp3\n", "unknown recipe 'exp3': use one of exp1a, exp1b, exp2, best"),
        ("quantization: nf3\n", "unknown quantization 'nf3': use one of nf4, "),
        ("lora_target_modules: q_proj\n", "lora_target_modules must be a list, as in [q_proj]"),
    ],
)
def test_a_mistake_in_a_yaml_file_is_one_sentence(text, words, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert main(["--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert f"{file}{words}" in said or "must be" in words or "unknown" in words


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("the disk\n  is full", "the disk is full"),
        ("A: b\nC: d", "A: b C: d"),
        (
            "Caught FileNotFoundError in DataLoader worker process 0.\n"
            "Original Traceback (most recent call last):\n  File ...\n"
            "FileNotFoundError: there is no photo: a.jpg\n",
            "there is no photo: a.jpg",
        ),
    ],
)
def test_what_stops_a_run_is_said_whole_and_in_one_line(reason, said, monkeypatch, capsys):
    def broken(config):
        raise OSError(reason)

    monkeypatch.setattr("training.run.train.train", broken)
    assert main(["--use_cpu", "True"]) == 2
    assert capsys.readouterr().err == f"training: {said}\n"


def test_a_config_without_a_file_is_one_sentence(capsys):
    assert main(["--config"]) == 2
    assert capsys.readouterr().err == "training: --config needs the name of a YAML file\n"


def test_an_unknown_entry_of_a_yaml_file_is_refused(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("lora_rank: 8\n")
    with pytest.raises(ValueError, match="unknown setting --lora_rank"):
        parse(["--config", str(file)])


def test_help_shows_our_own_settings_first(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.index("--model_name_or_path") < said.index("--lora_r") < said.index("--output_dir")


def test_help_leaves_out_what_has_no_use(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    said = capsys.readouterr().out
    assert "--eval" not in said and "--deepspeed" not in said and "--packing" not in said


def test_every_unused_setting_is_one_of_trl_s():
    assert UNUSED.keys() <= SFTConfig.__dataclass_fields__.keys()


def test_deepspeed_by_accelerate_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ValueError, match="DeepSpeed is not supported"):
        TrainConfig()


def test_the_cpu_does_otherwise_and_says_why():
    config = TrainConfig(use_cpu=True)
    assert (config.optim, config.bf16, config.use_cpu) == ("adamw_torch", False, True)
    assert "adamw_torch instead of paged_adamw_8bit" in config.fallback
    assert TrainConfig(use_cpu=True, optim="sgd").optim == "sgd"


def test_accelerate_on_the_cpu_is_one_process_and_says_so(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    said = TrainConfig(use_cpu=True).fallback
    assert "one process, as always with accelerate launch --cpu" in said


def test_flags_override_a_recipe():
    assert adapted("exp2", None, None, None) == RECIPES["exp2"]
    changed = adapted("exp1b", ["o_proj"], 4, 8)
    assert (changed.targets, changed.rank, changed.alpha) == (("o_proj",), 4, 8)
    assert not changed.answer_only


def test_lora_takes_its_targets_as_one_regular_expression():
    config = lora_config(RECIPES["exp2"], dropout=0.05, bias="none")
    assert isinstance(config.target_modules, str)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (8, 16, 0.05, "none")
