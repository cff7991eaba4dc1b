"""Counts a model's parameters: per module that LoRA matches, and per layer that is quantised."""

import re
from collections import Counter
from copy import deepcopy
from dataclasses import replace

import torch
from peft import get_peft_model
from torch import nn

from nutrition_vl.models.family import QWEN2_VL
from training.settings.recipes import Recipe, lora_config, pattern


def quantizable(model: nn.Module) -> Counter[str]:
    """Returns the parameters of each linear layer that quantisation takes, by its name."""
    return Counter(
        {
            name: layer.weight.numel()
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and not name.startswith(QWEN2_VL.not_quantized)
        }
    )


def modules_by_target(model: nn.Module, recipe: Recipe) -> dict[str, list[str]]:
    """Returns the modules per target of a recipe; ValueError for a target without one."""
    names = [name for name, _ in model.named_modules()]
    modules = {
        target: [name for name in names if re.fullmatch(pattern([target]), name)]
        for target in recipe.targets
    }
    for target, matches in modules.items():
        if not matches:
            raise ValueError(
                f"no module's name ends in {target!r}, so nothing would be trained there: "
                "correct --lora_target_modules"
            )
    return modules


def trainable(model: nn.Module, recipe: Recipe, bias: str = "none") -> Counter[str]:
    """Returns the parameters that PEFT makes trainable, by the module they adapt."""
    shapes = replace(recipe, init="default")  # there are no weights to take first values from
    with torch.device("meta"):
        adapted = get_peft_model(deepcopy(model), lora_config(shapes, 0.0, bias))
    counts: Counter[str] = Counter()
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            module = re.split(
                r"\.(?:lora_|base_layer|bias)", name.removeprefix("base_model.model.")
            )
            counts[module[0]] += weight.numel()
    return counts
