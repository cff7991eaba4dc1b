"""Products of matrices on a CPU, whoever computes them."""

from unittest.mock import Mock

import pytest
import torch
from torch.nn.functional import linear

from nutrition_vl.decoding.kernels import cpu_matmul as products
from nutrition_vl.decoding.kernels.cpu_matmul import (
    onednn_layers,
    product,
    replaced,
    unpacked_layers,
)


@pytest.fixture
def layer() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(256, 96).requires_grad_(False)


@pytest.mark.parametrize("capability", ["AVX512", "AVX2", "NO AVX"])
@pytest.mark.parametrize("shape", [(300, 256), (2, 5, 256), (1, 256)])
def test_a_product_is_what_exact_numbers_make_it(
    capability: str, shape: tuple[int, ...], layer: torch.nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.backends.cpu.get_cpu_capability() == "AVX512":  # else oneDNN may lack what it takes
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    rows = torch.randn(shape)
    exact = linear(rows.double(), layer.weight.double(), layer.bias.double())
    found = product(rows, layer.weight, layer.bias)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_left_to_pytorch(layer: torch.nn.Linear) -> None:
    rows, weight = torch.randn(3, 256).bfloat16(), layer.weight.bfloat16()
    assert torch.equal(product(rows, weight), linear(rows, weight))


def test_layers_multiply_by_it_within_and_only_within(
    layer: torch.nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Mock(side_effect=product)
    monkeypatch.setattr(products, "product", ours)
    rows = torch.randn(3, 256)
    with replaced(onednn_layers(torch.nn.Sequential(layer))):
        inside = layer(rows)
    ours.assert_called_once()
    torch.testing.assert_close(inside, layer(rows))
    ours.assert_called_once()


def test_unpacked_layers_have_the_numbers_of_packed_ones(demo, photo, monkeypatch) -> None:
    demo.detect([photo])
    layers = unpacked_layers(demo.model)
    assert len(layers) == 7 * demo.model.config.text_config.num_hidden_layers
    with torch.inference_mode():
        for layer, forward in layers.items():
            rows = torch.randn(5, layer.in_features)
            assert "forward" not in vars(layer)
            packed = layer(rows)
            with replaced(layers):
                assert layer(rows).equal(forward(rows))
            torch.testing.assert_close(forward(rows), packed)
    monkeypatch.setattr(products, "UNPACKED", 10**6)
    assert unpacked_layers(demo.model) == {}
