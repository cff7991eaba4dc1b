"""Encodes photos by the vision tower, on a GPU next to the decoding of earlier ones."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers.activations import QuickGELUActivation

from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.decoding.kernels.cpu_matmul import onednn_layers, replaced
from nutrition_vl.decoding.kernels.cuda_graphs import Eager
from nutrition_vl.models.family import Model


class Tower:
    """The vision tower of a model, on a GPU in a CUDA stream of its own.

    Decoding reads weights, encoding multiplies: side by side both take less time than one after the
    other. The `runner` is the tower's alone, since graphs that share memory must not run at once.
    """

    def __init__(self, model: Model, runner: Eager) -> None:
        self.model, self.runner = model, runner
        self.stream = torch.cuda.Stream(model.device) if model.device.type == "cuda" else None
        self.ahead: WeakKeyDictionary[ModelInputs, tuple[str, Tensor]] = WeakKeyDictionary()

    def encode(self, inputs: Sequence[ModelInputs], adapter: str) -> list[Tensor]:
        """The image tokens (tokens, width) of each photo, with the adapter in use."""
        missing = [one for one in inputs if self.ahead.get(one, ("",))[0] != adapter]
        images = self._encode(missing, adapter) | {
            one: self.ahead.pop(one)[1] for one in {*inputs} - {*missing}
        }
        if self.stream:
            current = torch.cuda.current_stream()
            current.wait_stream(self.stream)
            for image in images.values():
                image.record_stream(current)
        return [images[one] for one in inputs]

    def encode_ahead(self, inputs: Sequence[ModelInputs], adapter: str) -> None:
        """Starts with the photos of the next call, where there is memory for them; never waits."""
        try:
            images = self._encode(inputs, adapter)
        except torch.OutOfMemoryError:
            return self.clear()
        self.ahead.update({one: (adapter, image) for one, image in images.items()})

    def clear(self) -> None:
        """Frees all memory that the next call would use again."""
        self.ahead.clear()
        self.runner.clear()

    def _encode(self, inputs: Sequence[ModelInputs], adapter: str) -> dict[ModelInputs, Tensor]:
        if self.stream:
            self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream) if self.stream else nullcontext():
            # All copies first: each waits for the stream, and so for the photos before it.
            copies = [self._on_device(one.pixels, one.patch_positions) for one in inputs]
            return {
                one: self.runner.run((adapter, "vision"), self._function(one), *tensors).clone()
                for one, tensors in zip(inputs, copies, strict=True)
            }

    def _on_device(self, *tensors: Tensor) -> list[Tensor]:
        return [tensor.to(self.model.device) for tensor in tensors]

    def _function(self, inputs: ModelInputs) -> Callable[[Tensor, Tensor], Tensor]:
        tower = self.model.model.visual
        return lambda pixels, positions: encode_image(tower, pixels, positions, inputs.grid)


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
