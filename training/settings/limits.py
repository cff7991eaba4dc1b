"""Limits of the settings: one sentence for a wrong one, before anything is loaded."""

from collections.abc import Mapping
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

import yaml
from accelerate.utils import parse_flag_from_env
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.utils import is_liger_kernel_available

from training.settings.recipes import CHANGE_THE_BASE
from training.settings.unused import UNUSED

LEAST = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "lora_r": 1,
    "lora_alpha": 1,
    "limit": 1,
    "max_image_tokens": 16,
    "validation_photos": 0,
    "patience": 0,
}
SHARES = ("lora_dropout", "warmup_ratio")
POSITIVE = ("memory_limit", "loraplus_lr_ratio", "vision_learning_rate", "merger_learning_rate")
OWN_CHOICES = ("recipe", "quantization", "attention", "lora_bias", "init_lora_weights")


def check(settings: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """ValueError for settings, by their names, that no run can have; `fields` are their fields."""
    for name, field in fields.items():
        _check_field(name, settings[name], field)
    _check_together(settings)
    for name in (*LEAST, *SHARES, *POSITIVE):
        if settings[name] is not None:
            _check_number(name, settings[name])
    _check_trackers(settings["report_to"])


def _check_field(name: str, value: Any, field: Field) -> None:
    if name in UNUSED and field.default is not MISSING and value != field.default:
        raise ValueError(f"--{name} {value} has no use here: {UNUSED[name]}")
    choices = field.metadata.get("choices")
    if choices and name in OWN_CHOICES and value not in choices:  # of a YAML file, unchecked by TRL
        raise ValueError(f"unknown {name} {value!r}: use one of {', '.join(choices)}")


def _check_together(settings: Mapping[str, Any]) -> None:
    if settings["fp16"]:
        raise ValueError(
            "float16 overflows in Qwen2-VL (transformers#33312): train with --bf16 True instead"
        )
    if not settings["use_lora"]:
        raise ValueError("4-bit weights cannot be trained, only adapters on them: --use_lora True")
    if settings["plain"] and settings["low_memory"]:
        raise ValueError("--plain True leaves out what --low_memory True needs: choose one")
    if settings["use_liger_kernel"] and not is_liger_kernel_available():
        raise ValueError("--use_liger_kernel True needs its package: pip install liger-kernel")
    if settings["train_sampling_strategy"] == "batch_rebalance":
        raise ValueError("--train_sampling_strategy is random, sequential or group_by_length")
    if settings["lr_scheduler_type"] in ("reduce_lr_on_plateau", "greedy"):
        raise ValueError("--lr_scheduler_type must not depend on an evaluation: use cosine")
    if isinstance(targets := settings["lora_target_modules"], str):  # of a YAML file
        raise ValueError(f"lora_target_modules must be a list, as in [{targets}]")
    if settings["init_lora_weights"] in CHANGE_THE_BASE:
        _check_init(settings)
    name = settings["model_name_or_path"]
    if settings["push_to_hub"] and (Path(name).exists() or name.count("/") != 1):
        raise ValueError(
            f"--push_to_hub needs a base on the hub: an adapter of {name} works nowhere else"
        )
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise ValueError(f"DeepSpeed is not supported: {UNUSED['deepspeed']}")


def _check_init(settings: Mapping[str, Any]) -> None:
    init = f"--init_lora_weights {settings['init_lora_weights']}"
    if settings["quantization"] != "none":
        raise ValueError(f"{init} changes the base, which cannot be quantised: --quantization none")
    if settings["use_rslora"] or settings["use_dora"] or settings["lora_bias"] != "none":
        raise ValueError(f"{init} is for plain LoRA: no --use_rslora, --use_dora, --lora_bias")


def _check_trackers(report_to: str | list[str]) -> None:
    """ValueError for a tracker that transformers does not know, or whose package is missing."""
    for name in [report_to] if isinstance(report_to, str) else report_to or []:
        if name not in ("none", "all", *INTEGRATION_TO_CALLBACK):
            raise ValueError(f"there is no tracker {name}: use --report_to tensorboard")
        if name in INTEGRATION_TO_CALLBACK and name not in get_available_reporting_integrations():
            package = name.replace("_", "-")
            raise ValueError(f"--report_to {name} needs its package: pip install {package}")


def _check_number(name: str, value: Any) -> None:
    if not isinstance(value, int | float):  # of a YAML file, whose types TRL's parser believes
        raise ValueError(f"--{name} must be a number, not {value}")
    if name in LEAST and not value >= LEAST[name]:
        raise ValueError(f"--{name} must be at least {LEAST[name]}, not {value}")
    if name in SHARES and not 0 <= value < 1:
        raise ValueError(f"--{name} must be from 0 to below 1, not {value}")
    if name in POSITIVE and not value > 0:
        raise ValueError(f"--{name} must be above 0, not {value}")


def check_file(words: list[str]) -> None:
    """ValueError unless the file of --config, if a command line names one, holds settings."""
    if "--config" not in words:
        return
    named = words[words.index("--config") + 1 :]
    if not named:
        raise ValueError("--config needs the name of a YAML file")
    try:
        settings = yaml.safe_load(Path(named[0]).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{named[0]} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        raise ValueError(f"{named[0]} must hold settings, one per line, as in lora_r: 8")
