"""Encodes one photo by the vision tower."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers.activations import QuickGELUActivation

from nutrition_vl.decoding.kernels.cpu_matmul import onednn_layers, replaced


def encode_image(tower: Any, pixels: Tensor, positions: Tensor, grid: Tensor) -> Tensor:
    """The image tokens (tokens, width) of patches (patches, values), their positions (patches, 2)
    and the grid (1, 3).

    One photo per call, so that a batch changes nothing. Never waits for a GPU, so it can be
    captured. On a CPU there is no gradient.
    """
    ends = torch.tensor([0, len(pixels)])  # on the CPU, where the tower reads them
    on_cpu = _in_place(tower) | onednn_layers(tower) if pixels.is_cpu else {}
    with replaced(_linear_patches(tower) | on_cpu):
        output = tower(pixels, grid_thw=grid, position_ids=positions, cu_seqlens=ends)
    return output.pooler_output


def _linear_patches(tower: Any) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Embeds patches by a matrix product instead of a convolution over whole patches, in a third of
    the time on a CPU; for GPUs see https://github.com/huggingface/transformers/issues/45750. Can go
    when transformers does so itself."""
    embed = tower.patch_embed
    if type(embed.proj) is not nn.Conv3d:  # an adapter is on it
        return {}
    weight = embed.proj.weight.flatten(1)
    return {embed: lambda patches: linear(patches.to(weight.dtype), weight)}


def _in_place(tower: Any) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Activations x * sigmoid(1.702 x) that overwrite x: three new tensors of 5 MB in each of the
    demo's 8 blocks took up to a third of its time on a CPU."""
    activations = [block.mlp.act for block in tower.blocks]
    return {
        activation: lambda x: silu(x.mul_(1.702), inplace=True).div_(1.702)
        for activation in activations
        if type(activation) is QuickGELUActivation
    }
