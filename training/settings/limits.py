"""What settings may be: one sentence for those that cannot be, before anything is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from training.settings.recipes import RECIPES

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


def check(settings: Mapping[str, Any]) -> None:
    """ValueError for settings, by their names, that no run can have."""
    _check_choices(settings)
    for name in (*LEAST, *SHARES, "memory_limit"):
        if settings[name] is not None:
            _check_number(name, settings[name])


def _check_choices(settings: Mapping[str, Any]) -> None:
    if settings["fp16"]:
        raise ValueError(
            "float16 overflows in Qwen2-VL (transformers#33312): train with --bf16 True instead"
        )
    if not settings["use_lora"]:
        raise ValueError("4-bit weights cannot be trained, only adapters on them: --use_lora True")
    if settings["plain"] and settings["low_memory"]:
        raise ValueError("--plain True leaves out what --low_memory True needs: choose one")
    if settings["train_sampling_strategy"] == "batch_rebalance":
        raise ValueError("--train_sampling_strategy is random, sequential or group_by_length")
    if isinstance(targets := settings["lora_target_modules"], str):  # of a YAML file
        raise ValueError(f"lora_target_modules must be a list, as in [{targets}]")
    if (recipe := settings["recipe"]) not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}: use one of {', '.join(RECIPES)}")


def _check_number(name: str, value: Any) -> None:
    if not isinstance(value, int | float):  # of a YAML file, whose types TRL's parser believes
        raise ValueError(f"--{name} must be a number, not {value}")
    if name in LEAST and not value >= LEAST[name]:
        raise ValueError(f"--{name} must be at least {LEAST[name]}, not {value}")
    if name in SHARES and not 0 <= value < 1:
        raise ValueError(f"--{name} must be from 0 to below 1, not {value}")
    if name == "memory_limit" and not value > 0:
        raise ValueError(f"--memory_limit must be above 0 GB, not {value}")


def check_file(words: list[str]) -> None:
    """ValueError unless the file of --config, if a command line names one, holds settings."""
    if "--config" not in words:
        return
    named = words[words.index("--config") + 1 :]
    if not named:
        raise ValueError("--config needs the name of a YAML file")
    try:
        found = yaml.safe_load(Path(named[0]).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{named[0]} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise ValueError(f"{named[0]} must hold settings, one a line, as in lora_r: 8")
