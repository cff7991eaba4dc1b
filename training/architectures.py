"""A model's shape without its weights: what LoRA matches, and how much there is of what."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peft import get_peft_model
from torch import nn
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from nutrition_vl.model import FULL_PRECISION
from nutrition_vl.runtime import Runtime
from training.recipes import Recipe, lora_config, pattern

# config.json of Qwen/Qwen2-VL-7B-Instruct and of Qwen/Qwen2-VL-2B-Instruct.
SIZES = {
    "random:7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
    "random:2b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}
PARTS = ("language_model", "visual", "lm_head")
ROTARY = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}


def is_random(name: str) -> bool:
    """Whether a name stands for an architecture with random weights; ValueError if unknown."""
    if name.startswith("random:") and name not in SIZES:
        raise ValueError(f"there is no {name}: use one of {', '.join(SIZES)}")
    return name in SIZES


def skeleton(name: str, source: str | Path, revision: str) -> Qwen2VLForConditionalGeneration:
    """The model on PyTorch's meta device: every name and shape, no memory.

    FileNotFoundError where its config.json cannot be had. A random one takes the embedded model's
    tokens, whose processor it is used with.
    """
    try:
        config = Qwen2VLConfig.from_pretrained(source, revision=revision)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"cannot get {name}: check the name and the network ({reason})"
        ) from error
    with torch.device("meta"):
        return Qwen2VLForConditionalGeneration(_grown(config, name) if is_random(name) else config)


def _grown(demo: Qwen2VLConfig, name: str) -> Qwen2VLConfig:
    size = SIZES[name]
    text = demo.text_config.to_dict() | size | {"rope_parameters": ROTARY, "layer_types": None}
    vision = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "hidden_size": size["hidden_size"]}
    tokens = {key: value for key, value in demo.to_dict().items() if key.endswith("_token_id")}
    return Qwen2VLConfig(
        text_config=text,
        vision_config=demo.vision_config.to_dict() | vision,
        tie_word_embeddings=size["tie_word_embeddings"],
        **tokens,
    )


@contextmanager
def random_checkpoint(config: Qwen2VLConfig, runtime: Runtime) -> Iterator[Path]:
    """A folder of random weights in this shape, to be loaded like any other, and then removed."""
    with TemporaryDirectory() as folder:
        torch.manual_seed(0)  # several processes must have the same weights
        with torch.device(runtime.device):
            model = Qwen2VLForConditionalGeneration._from_config(config, dtype=runtime.dtype)
        model.save_pretrained(folder)
        del model
        yield Path(folder)


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
