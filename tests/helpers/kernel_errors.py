"""Prints the largest difference of each Triton kernel from the module of transformers.

Without a GPU, TRITON_INTERPRET=1 must be set before Triton is imported.
"""

import json
from collections.abc import Iterator

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl

from nutrition_vl.decoding.kernels import gpu_elementwise as kernels
from nutrition_vl.decoding.kernels.gpu_lora import FEW, lora_layers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def pairs() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each kernel's name, its output and the module's."""
    norm, states = qwen2_vl.Qwen2VLRMSNorm(48).to(DEVICE), draw(2, 5, 48)
    nn.init.normal_(norm.weight)
    yield "normalize", kernels.normalize(norm, states), norm(states)

    mlp, states = nn.Module(), draw(1, 3, 8)
    mlp.gate_proj, mlp.up_proj, mlp.down_proj = nn.Linear(8, 600), nn.Linear(8, 600), nn.Identity()
    mlp.to(DEVICE)
    own = nn.functional.silu(mlp.gate_proj(states)) * mlp.up_proj(states)
    yield "swiglu", kernels.swiglu(mlp, states), own

    states = draw(3, 700)
    yield "quick_gelu", kernels.quick_gelu(states), QuickGELUActivation()(states)

    for heads, width in ((3, 16), (4, 10)):
        query, key, _ = draw(2, 6, 3, heads, width).unbind(2)  # strided, as of a joint projection
        angles = draw(2, 6, width // 2, seed=1).repeat(1, 1, 2)
        cosine, sine = angles.cos(), angles.sin()
        own = qwen2_vl.apply_rotary_pos_emb(
            *(x.transpose(1, 2) for x in (query, key)), cosine, sine
        )
        for name, part, turned in zip(("query", "key"), (query, key), own, strict=True):
            yield f"{name} {width}", kernels.rotate(part, cosine, sine), turned.transpose(1, 2)

    base = nn.Sequential(nn.Linear(1100, 2100)).to(DEVICE)
    model = get_peft_model(base, LoraConfig(r=5, target_modules=["0"], init_lora_weights=False))
    ((layer, forward),) = lora_layers(model.eval()).items()
    for rows in (1, 3, FEW + 1):
        states = draw(1, rows, 1100)
        own, base_alone = layer(states), layer.base_layer(states)
        assert (own - base_alone).abs().max() > 0.1  # the adapter changes something
        yield f"lora {rows}", forward(states) / own.abs().max(), own / own.abs().max()


if __name__ == "__main__":
    with torch.inference_mode():
        print(json.dumps({name: (a - b).abs().max().item() for name, a, b in pairs()}))
