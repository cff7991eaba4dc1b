"""Models of known shapes without their weights: bare shapes, and random weights.

Random weights are drawn on the device while transformers loads them, so a 7B is ready in seconds
and never lies anywhere unquantised as a whole.
"""

import zlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.family import QWEN2_VL, Config, Model
from nutrition_vl.models.load import materialize
from nutrition_vl.models.names import NF4
from nutrition_vl.models.runtime import Runtime

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
ROTARY = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}


def is_random(name: str) -> bool:
    """True for a name of SIZES; ValueError for another random:..."""
    if name.startswith("random:") and name not in SIZES:
        raise ValueError(f"there is no {name}: use one of {', '.join(SIZES)}")
    return name in SIZES


def skeleton(name: str, source: str | Path, revision: str) -> Model:
    """The model on PyTorch's meta device: every name and shape, no memory.

    A random one has the embedded model's tokens, whose processor goes with it. FileNotFoundError
    where the source has no config.json.
    """
    try:
        config = QWEN2_VL.config.from_pretrained(source, revision=revision)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"cannot get {name}: check the name and the network ({reason})"
        ) from error
    with torch.device("meta"):
        return QWEN2_VL.model(_enlarged(config, name) if is_random(name) else config)


def _enlarged(demo: Config, name: str) -> Config:
    size = SIZES[name]
    text = demo.text_config.to_dict() | size | {"rope_parameters": ROTARY, "layer_types": None}
    vision = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "hidden_size": size["hidden_size"]}
    tokens = {key: value for key, value in demo.to_dict().items() if key.endswith("_token_id")}
    return QWEN2_VL.config(
        text_config=text,
        vision_config=demo.vision_config.to_dict() | vision,
        tie_word_embeddings=size["tie_word_embeddings"],
        **tokens,
    )


class _RandomSlice:
    """A fake safetensors slice: transformers reads it, and the weight is drawn at that moment."""

    def __init__(self, shape: torch.Size, runtime: Runtime, seed: int, deviation: float) -> None:
        self.shape, self.device, self.dtype = shape, runtime.device, runtime.dtype
        self.seed, self.deviation = seed, deviation

    def __getitem__(self, _: Any) -> Tensor:
        weight = torch.empty(self.shape, device=self.device, dtype=self.dtype)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        return weight.normal_(0, self.deviation, generator=generator)


class _ConstantSlice(_RandomSlice):
    """Biases of 0 and norms of 1, with which Qwen2-VL starts."""

    def __getitem__(self, _: Any) -> Tensor:
        return torch.full(self.shape, self.deviation, device=self.device, dtype=self.dtype)


def random_base(
    shape: Config,
    runtime: Runtime,
    quantization: str = NF4,
    offload_embeddings: bool = False,
    seed: int = 0,
) -> Model:
    """A base with the initial weights of this shape, loaded as `load_base` would; equal in every
    process."""
    with torch.device("meta"):
        weights = QWEN2_VL.model._from_config(deepcopy(shape)).state_dict()
    if shape.tie_word_embeddings:
        del weights["lm_head.weight"]
    deviation = shape.text_config.initializer_range
    slices = {
        name: _ConstantSlice(weight.shape, runtime, 0, float(not name.endswith("bias")))
        if weight.ndim == 1
        else _RandomSlice(weight.shape, runtime, seed + zlib.crc32(name.encode()), deviation)
        for name, weight in weights.items()
    }
    options = {"config": deepcopy(shape), "state_dict": slices}
    return materialize(QWEN2_VL, runtime, quantization, offload_embeddings, None, **options)


def add_random_adapter(model: Model, seed: int = 0) -> PeftModel:
    """The model with a random LoRA of the embedded adapter's settings."""
    config = LoraConfig.from_pretrained(str(DEMO / "adapter"))
    config.init_lora_weights, config.inference_mode = False, True  # B is random too
    torch.manual_seed(seed)
    return PeftModel(model, config).eval()
