"""What LoRA matches in a model, and how much there is of what."""

import re
from collections import Counter
from copy import deepcopy

import torch
from peft import get_peft_model
from torch import nn

from nutrition_vl.models.quantization import FULL_PRECISION
from training.settings.recipes import Recipe, lora_config, pattern

PARTS = ("language_model", "visual", "lm_head")


def part_of(module: str) -> str:
    """Which part of the model a module belongs to."""
    return next(part for part in PARTS if part in module.split("."))


def quantizable(model: nn.Module) -> Counter[str]:
    """Parameters of each linear layer that quantisation takes, by its name."""
    return Counter(
        {
            name: layer.weight.numel()
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and not name.startswith(FULL_PRECISION)
        }
    )


def matched(model: nn.Module, recipe: Recipe) -> dict[str, list[str]]:
    """The modules that each target of a recipe means; ValueError for a target that means none."""
    names = [name for name, _ in model.named_modules()]
    found = {
        target: [name for name in names if re.fullmatch(pattern([target]), name)]
        for target in recipe.targets
    }
    for target, modules in found.items():
        if not modules:
            raise ValueError(
                f"no module's name ends in {target!r}, so nothing would be trained there: "
                "correct --lora_target_modules"
            )
    return found


def trainable(model: nn.Module, recipe: Recipe, bias: str = "none") -> Counter[str]:
    """Parameters that PEFT itself makes trainable under a recipe, by the module they adapt."""
    with torch.device("meta"):
        adapted = get_peft_model(deepcopy(model), lora_config(recipe, 0.0, bias))
    counts: Counter[str] = Counter()
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            module = re.split(
                r"\.(?:lora_|base_layer|bias)", name.removeprefix("base_model.model.")
            )
            counts[module[0]] += weight.numel()
    return counts
