"""Settings that transformers and TRL do not have; no import of theirs, so that --help is quick."""

# ruff: noqa: RUF009 (dataclasses.field() is meant to be called here, and _own calls it)

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from nutrition_vl.cli import LABEL
from nutrition_vl.data import DATASET
from nutrition_vl.models.names import ATTENTIONS, QUANTIZATIONS
from training.settings.recipes import INITS, RECIPES

BASE_MODEL = "Qwen/Qwen2-VL-7B-Instruct"
DESCRIPTION = "Trains LoRA adapters on a 4-bit Qwen2-VL with labelled photos."
USAGE = "python -m training [--config FILE.yaml] [--setting value ...]"
OTHERS = """The settings of transformers and TRL, such as --output_dir, --learning_rate and
--num_train_epochs, are listed by --help_all."""


def _own(default: Any, text: str, choices: Iterable[str] | None = None) -> Any:
    """A field of ours."""
    limits = {} if choices is None else {"choices": [*choices]}
    return field(default=default, metadata={"help": text} | limits)


@dataclass
class OwnSettings:
    """Settings of ours; TrainConfig adds those of TRL's SFTConfig."""

    model_name_or_path: str = _own(
        BASE_MODEL, "demo, a folder, a hub id, or random:7b and random:2b to see what fits"
    )
    model_revision: str = _own("main", "branch, tag or commit of a hub model")
    data_path: str = _own(
        DATASET, "labelled photos: a hub id, a folder or a file (see nutrition_vl/data)"
    )
    recipe: str = _own(
        "exp1a", "; ".join(f"{key}: {one.summary}" for key, one in RECIPES.items()), RECIPES
    )
    use_lora: bool = _own(
        True, "kept for compatibility; must be True (a 4-bit base cannot be trained)"
    )
    lora_r: int | None = _own(None, "rank of the adapters (default: the recipe's, 8)")
    lora_alpha: int | None = _own(
        None, "scale of the adapters times their rank (default: the recipe's, 16)"
    )
    lora_dropout: float = _own(0.05, "dropout of the adapters' inputs")
    lora_bias: str = _own("none", "which biases are trained too", ("none", "all", "lora_only"))
    lora_target_modules: list[str] | None = _own(
        None, "ends of module names, regular expressions, or all-linear (default: the recipe's)"
    )
    use_rslora: bool = _own(False, "rsLoRA: scale adapters by alpha / sqrt(rank)")
    use_dora: bool = _own(False, "DoRA: train magnitudes too; plain layers, slower")
    init_lora_weights: str = _own(
        "default", "first values; pissa and olora: --quantization none, plain LoRA", INITS
    )
    loraplus_lr_ratio: float | None = _own(None, "LoRA+: learning rate of B over that of A")
    vision_learning_rate: float | None = _own(None, "learning rate in the vision tower and merger")
    merger_learning_rate: float | None = _own(None, "learning rate in the merger")
    quantization: str = _own(
        "nf4", "of the base: nf4 with double quantisation or single, int8, or none", QUANTIZATIONS
    )
    attention: str = _own(
        "sdpa", "attention in training; sdpa is PyTorch's choice, never cuDNN's kernel", ATTENTIONS
    )
    max_image_tokens: int | None = _own(
        None, "most tokens per photo (default: the model's own; 600 for the hub's 16,384)"
    )
    limit: int | None = _own(None, "train on the first N photos only")
    corrections: str | None = _own(
        None, "corrections.jsonl of python -m eval.audit, applied to data_path"
    )
    label: str | None = _own(None, f"{LABEL} (default: the data's only class)")
    validation_photos: int = _own(
        0, "score every checkpoint on N photos; the file best names the best by mean IoU"
    )
    validation_path: str | None = _own(
        None, "photos for validation (default: the val split of data_path)"
    )
    patience: int = _own(0, "stop after N checkpoints without a better score (default: never)")
    cache_features: bool = _own(
        True, "compute each photo's visual features once, unless the vision tower is trained"
    )
    features_dir: str | None = _own(
        None, "folder of visual features, for later runs too (default: features next to the run)"
    )
    plain: bool = _own(
        False, "TRL and PEFT alone: no feature cache, lean layers, regrouping or CUDA graphs"
    )
    lean_layers: bool = _own(
        True, "decoder layers with a hand-written backward pass: less memory, fewer kernels"
    )
    regroup_batches: bool = _own(
        True, "split each step into the largest micro-batches that fit into memory"
    )
    memory_limit: float | None = _own(
        None, "GB of memory to use (default: nine tenths of the free, 4.6 with --low_memory True)"
    )
    low_memory: bool = _own(
        False, "keep embeddings and output matrix in CPU memory; slower, disables CUDA graphs"
    )
    log_memory: bool = _own(
        False, "log allocated, reserved and peak memory of each step to metrics.jsonl"
    )
    warmup_ratio: float | None = _own(
        None, "share of the steps to warm up in; same as --warmup_steps below 1"
    )
    overwrite: bool = _own(False, "start again in an output folder that holds a run")
    override: bool = _own(
        False, "resume although settings or data differ from the checkpoint's; its card lists them"
    )
    preflight_only: bool = _own(False, "check everything, train nothing")


def short_help() -> str:
    """Help for the settings of ours alone."""
    parser = argparse.ArgumentParser(usage=USAGE, description=DESCRIPTION, epilog=OTHERS)
    group = parser.add_argument_group("settings of this training")
    for setting in fields(OwnSettings):
        choices, default = setting.metadata.get("choices"), setting.default
        text = setting.metadata["help"] + ("" if default is None else f" (default: {default})")
        group.add_argument(
            f"--{setting.name}", choices=choices, help=text, metavar=_value(setting.type, choices)
        )
    group.add_argument("--config", metavar="FILE", help="YAML file of settings")
    return parser.format_help()


def _value(kind: Any, choices: Iterable[str] | None) -> str | None:
    """The placeholder for a value: none for choices, which argparse lists."""
    if choices:
        return None
    return {bool: "True|False", list[str] | None: "NAME ..."}.get(kind, "VALUE")
