"""PiSSA and OLoRA adapters as plain LoRA: both take their first values out of the base's weights.

The trained model is W - s B0 A0 + s B A, with W the base, s the scale and A0, B0 the first values.
So on the unchanged base it is one adapter of twice the rank: [A; A0] and [B, -B0].
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nutrition_vl.models.checkpoints import ADAPTER_CONFIG
from nutrition_vl.models.load import ADAPTER_WEIGHTS


def to_plain_lora(folder: Path, first: dict[str, Tensor]) -> None:
    """Replaces a saved adapter, with these `first` values, by its equal for the unchanged base."""
    file = folder / ADAPTER_WEIGHTS
    trained = load_file(file)
    pairs = {name: (weight, first[name].to(weight)) for name, weight in trained.items()}
    joined = {
        name: torch.cat([now, -then], 1) if "lora_B" in name else torch.cat([now, then])
        for name, (now, then) in pairs.items()
    }
    save_file(joined, file, metadata={"format": "pt"})
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config |= {"r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}
    config["init_lora_weights"] = True
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
