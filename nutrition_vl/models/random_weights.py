"""Qwen2-VL's sizes without their weights: bare shapes, and checkpoints of random weights."""

import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from nutrition_vl.models.checkpoints import ADAPTER_CONFIG, DEMO, read_card, write_card
from nutrition_vl.models.load import ADAPTER_WEIGHTS, PixelBudget, load_processor, materialize
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


class _Drawn:
    """A weight that is drawn when transformers reads it, as a slice of a file would be.

    So a base of random weights is there in seconds and never lies anywhere unquantised as a whole.
    """

    def __init__(self, name: str, shape: torch.Size, runtime: Runtime) -> None:
        self.seed, self.shape = zlib.crc32(name.encode()), shape  # equal in every process
        self.device, self.dtype = runtime.device, runtime.dtype
        # What Qwen2-VL starts with: biases of 0, norms of 1, matrices of deviation 0.02.
        self.constant = float(not name.endswith("bias")) if len(shape) == 1 else None

    def __getitem__(self, _: Any) -> Tensor:
        weight = torch.empty(self.shape, device=self.device, dtype=self.dtype)
        if self.constant is not None:
            return weight.fill_(self.constant)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        return weight.normal_(0, 0.02, generator=generator)


def random_base(
    shape: Qwen2VLConfig, runtime: Runtime, quantization: str = "nf4", spare: bool = False
) -> Qwen2VLForConditionalGeneration:
    """A base of random weights in this shape, as `load_base` would load it."""
    with torch.device("meta"):
        bones = Qwen2VLForConditionalGeneration._from_config(deepcopy(shape))
    weights = {name: weight.shape for name, weight in bones.state_dict().items()}
    if shape.tie_word_embeddings:
        del weights["lm_head.weight"]
    drawn = {name: _Drawn(name, size, runtime) for name, size in weights.items()}
    return materialize(runtime, quantization, spare, None, config=deepcopy(shape), state_dict=drawn)


def random_adapter(base: Path, shape: Qwen2VLConfig, budget: PixelBudget) -> Path:
    """A folder inside `base` with a random adapter for it, as the embedded one is: r 8, q and v."""
    folder = base / "adapter"
    folder.mkdir()
    shutil.copy(DEMO / "adapter" / ADAPTER_CONFIG, folder)
    load_processor(DEMO, budget).save_pretrained(folder)
    write_card(folder, replace(read_card(DEMO / "adapter"), base_model=str(base)))
    rank = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["r"]
    with torch.device("meta"):
        bones = Qwen2VLForConditionalGeneration(shape)
    weights = {}
    for name, layer in bones.named_modules():
        if name.endswith(("q_proj", "v_proj")):
            key = f"base_model.model.{name}.lora_"
            weights[f"{key}A.weight"] = 0.01 * torch.randn(rank, layer.in_features)
            weights[f"{key}B.weight"] = 0.01 * torch.randn(layer.out_features, rank)
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    return folder
