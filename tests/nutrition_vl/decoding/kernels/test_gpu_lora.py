"""LoRA layers by kernels: the numbers of PEFT (test_gpu_elementwise.py), and PEFT itself where the
kernels do not fit."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

pytest.importorskip("triton")
from nutrition_vl.decoding.kernels.gpu_lora import FEW, lora_layers


def adapted(**options):
    base = nn.Sequential(nn.Linear(16, 24)).requires_grad_(False)
    config = LoraConfig(r=4, target_modules=["0"], init_lora_weights=False, **options)
    torch.manual_seed(0)
    model = get_peft_model(base, config).eval()
    ((layer, forward),) = lora_layers(model).items()
    return model, layer, forward


@torch.inference_mode()
def test_many_rows_get_the_output_of_peft_and_the_states_stay():
    _, layer, forward = adapted()
    states = torch.randn(2, FEW, 16)
    before = states.clone()
    torch.testing.assert_close(forward(states), layer(states))
    assert states.equal(before)


@torch.inference_mode()
@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}])
def test_variants_of_lora_are_computed_by_peft(options):
    _, layer, forward = adapted(**options)
    states = torch.randn(2, FEW, 16)
    assert forward(states).equal(layer(states))


@torch.inference_mode()
def test_a_disabled_adapter_adds_nothing_and_two_add_both():
    model, layer, forward = adapted()
    states = torch.randn(2, FEW, 16)
    with model.disable_adapter():
        assert forward(states).equal(layer.base_layer(states))
    model.add_adapter("other", LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))
    layer.set_adapter(["default", "other"])
    both = layer(states)
    assert forward(states).equal(both)
    layer.set_adapter("other")
    assert not forward(states).equal(both)
    torch.testing.assert_close(forward(states), layer(states))
