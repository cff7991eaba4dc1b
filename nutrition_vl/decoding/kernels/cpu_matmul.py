"""Products of float32 matrices on a CPU, by oneDNN instead of MKL.

MKL seems to do without AVX-512 on AMD's processors: 1,200 patches by a layer from 256 to 1,024 take
2.9 ms, and 1.3 by oneDNN, on 2 cores of an AMD EPYC (Zen 5). On an Intel Xeon both take the same.
Off with `--decoder generate`; equal by test_cpu_matmul.py. Can go when torch.nn.functional.linear
chooses oneDNN on AMD by itself (https://github.com/pytorch/builder/issues/504).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from nutrition_vl.models.family import Model
from nutrition_vl.models.quantization import unpacked_weights

UNPACKED = 250_000_000  # weights, 1 GB: the demo has 5 million, a 2B 1.3 billion


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`linear` of (rows, in) and (out, in), by oneDNN and without gradient where that is faster."""
    if not _faster(rows, weight):
        return linear(rows, weight, bias)
    # The private operator that torch.compile puts in place of a linear layer.
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def onednn_layers(part: nn.Module) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """The linear layers of a part of a model, as products by oneDNN."""
    layers = [layer for layer in part.modules() if type(layer) is nn.Linear]
    return {layer: partial(product, weight=layer.weight, bias=layer.bias) for layer in layers}


def unpacked_layers(model: Model) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """The 4-bit layers of a small model on a CPU, as products with weights unpacked once.

    bitsandbytes unpacks them in every forward pass, the larger part of a short one. Same numbers.
    """
    weights = unpacked_weights(model, UNPACKED) if model.device.type == "cpu" else {}
    return {
        layer: partial(linear, weight=weight, bias=layer.bias) for layer, weight in weights.items()
    }


@contextmanager
def replaced(forwards: Mapping[nn.Module, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Runs these functions instead of the modules' own `forward`."""
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            del module.forward  # the class's own is back


def _faster(rows: Tensor, weight: Tensor) -> bool:
    wide = rows.is_cpu and torch.backends.cpu.get_cpu_capability() == "AVX512"
    single = rows.dtype == weight.dtype == torch.float32
    return wide and single and hasattr(torch.ops.mkldnn, "_linear_pointwise")
