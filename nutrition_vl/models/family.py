"""The model families: their classes, the names of their parts, whether they have fast layers.

Another family is another entry of FAMILIES. These files know more of Qwen2-VL than its entry says:
boxes.py, decoding/grammar.py and decoding/structural_tag.py (its box text), decoding/inputs.py,
decoding/patches.py, decoding/vision.py and decoding/kernels/gpu_elementwise.py (rotary positions,
tower), random_weights.py and training/plan/parameter_counts.py (shapes),
training/settings/recipes.py (modules of the tower), training/fast_step/layers.py (the written
layer), training/demo_model (a small model of it). Types elsewhere are `Model`, `Processor` and
`Config`: with a second family, unions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from transformers import (
    PreTrainedConfig,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
)

Model: TypeAlias = Qwen2VLForConditionalGeneration
Processor: TypeAlias = Qwen2VLProcessor
ImageProcessor: TypeAlias = Qwen2VLImageProcessor
Config: TypeAlias = Qwen2VLConfig


@dataclass(frozen=True)
class Family:
    """Classes and part names of a family of vision-language models."""

    name: str
    model: type[Model]
    processor: type[Processor]
    config: type[Config]
    vision: str = "model.visual"
    language_model: str = "model.language_model"
    language_parts: tuple[str, ...] = ("layers", "norm", "rotary_emb")
    embeddings: str = "model.language_model.embed_tokens"
    head: str = "lm_head"
    fast_layers: bool = False

    @property
    def not_quantized(self) -> tuple[str, str]:
        """Parts that stay in 16 bits. Full names: "visual" alone matches nothing since transformers
        4.52, and a list replaces transformers' default exception, "lm_head"."""
        return self.vision, self.head


QWEN2_VL = Family("Qwen2-VL", Model, Processor, Config, fast_layers=True)
PARTS = ("language_model", "visual", "lm_head")
FAMILIES = {family.config.model_type: family for family in (QWEN2_VL,)}


def part_of(module: str) -> str:
    """The part of the model, one of PARTS, that a module belongs to."""
    return next(part for part in PARTS if part in module.split("."))


def family_of(source: str | Path, revision: str = "main") -> Family:
    """The family of a model folder or hub id; ValueError for one that is not in FAMILIES."""
    config, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        names = " or ".join(family.name for family in FAMILIES.values())
        raise ValueError(f"{source} is not a {names} model: its config.json says {model_type!r}")
    return FAMILIES[model_type]
