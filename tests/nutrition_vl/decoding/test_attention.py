"""Attention written out against PyTorch's own."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2VLConfig

from nutrition_vl.decoding.attention import GROUPED, grouped, grouped_attention


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("tokens", "groups"), [(7, 1), (7, 3), (607, 1)])
def test_it_is_the_attention_of_pytorch(masked, tokens, groups):
    query = draw(2, tokens, 2 * groups, 16).transpose(1, 2)
    slots = draw(2, 2, 2, 20, 16, seed=1)
    key, value = slots[:, :, :, :9]  # of longer slots, as they are kept
    unseen = (draw(2, 1, tokens, 9, seed=2) > 0) & (torch.arange(9) > 0) if masked else None
    seen, _ = grouped_attention(torch.nn.Identity(), query, key, value, unseen, 0.25)
    wide = [part.repeat_interleave(groups, dim=1) for part in (key, value)]
    with sdpa_kernel(SDPBackend.MATH):
        own = scaled_dot_product_attention(
            query, *wide, attn_mask=None if unseen is None else ~unseen, scale=0.25
        )
    assert torch.allclose(seen, own.transpose(1, 2), atol=1e-6)


@pytest.mark.parametrize("heads", [2, 6])
def test_flash_attention_is_the_same_without_a_mask_and_in_a_prefill(heads):
    query, keys = draw(2, heads, 9, 16), draw(2, 2, 2, 20, 16, seed=1)
    key, value = keys[:, :, :, :9]
    later = torch.arange(9) > torch.arange(9)[:, None]
    masks = [later.expand(2, 1, 9, 9)] + ([None] if heads == 2 else [])
    for mask in masks:
        inputs = torch.nn.Identity(), query, key, value, mask, 0.25
        exact, _ = grouped_attention(*inputs)
        fused, _ = grouped_attention(*inputs, flash=True)
        assert torch.allclose(fused, exact, atol=1e-6)


def test_strided_keys_and_values_are_read_as_they_are():
    query, key, value = draw(3, 2, 7, 4, 16).transpose(2, 3)
    seen, _ = grouped_attention(torch.nn.Identity(), query, key, value, None, 0.25)
    same, _ = grouped_attention(
        torch.nn.Identity(), query, key.contiguous(), value.contiguous(), None, 0.25
    )
    assert torch.equal(seen, same)


def test_the_models_own_attention_is_back_afterwards():
    config = Qwen2VLConfig()
    parts = config.text_config, config.vision_config
    before = [part._attn_implementation for part in parts]
    with pytest.raises(ZeroDivisionError), grouped(*parts):
        assert [part._attn_implementation for part in parts] == [GROUPED, GROUPED]
        1 / 0  # noqa: B018
    assert [part._attn_implementation for part in parts] == before
