"""Where the parts of a base are loaded to, and bases of random weights."""

import json

import pytest
import torch
from accelerate.big_modeling import attach_align_device_hook_on_blocks
from accelerate.utils import OffloadedWeightsLoader, extract_submodules_state_dict

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import load_base
from nutrition_vl.models.quantization import device_map, remove_offload_hooks
from nutrition_vl.models.random_weights import random_base, skeleton
from nutrition_vl.models.runtime import detect_runtime

CPU = detect_runtime("cpu")
SPARED = ("model.language_model.embed_tokens", "lm_head")


@pytest.mark.parametrize("name", ["random:7b", "random:2b"])
def test_a_spared_base_has_a_place_for_every_weight(name):
    found = {}
    for weight, _ in skeleton(name, DEMO, "main").named_parameters():
        (found[weight],) = [
            place
            for part, place in device_map("cuda:0", offload_embeddings=True).items()
            if weight.startswith(part)
        ]
    away = {weight for weight, place in found.items() if place == "cpu"}
    assert away <= {f"{part}.weight" for part in SPARED} and away
    assert device_map("cuda:0", offload_embeddings=False) == {"": "cuda:0"}


def test_without_hooks_a_spared_base_is_whole():
    base, wanted = (load_base(DEMO, CPU) for _ in range(2))
    parts = device_map("cpu", offload_embeddings=True)
    weights = OffloadedWeightsLoader(extract_submodules_state_dict(base.state_dict(), list(SPARED)))
    attach_align_device_hook_on_blocks(  # as transformers does where a GPU is among the places
        base,
        execution_device=dict.fromkeys([*parts, ""], "cpu"),
        offload={part: part in SPARED for part in parts},
        weights_map=weights,
        tied_params_map={},
    )
    assert base.lm_head.weight.is_meta
    base.hf_device_map = {"model.visual": "cuda:0", "lm_head": "cpu"}
    remove_offload_hooks(base)
    ids = torch.arange(9)[None]
    assert base(input_ids=ids).logits.equal(wanted(input_ids=ids).logits)
    assert base.hf_device_map == {"": "cuda:0"}
    assert not any("forward" in vars(module) for module in base.modules())


def test_random_weights_are_what_a_new_model_starts_with_and_the_same_each_time():
    shape = skeleton("demo", DEMO, "main").config
    one, other = (random_base(shape, CPU, "none").state_dict() for _ in range(2))
    assert all(weight.equal(other[name]) for name, weight in one.items())
    layer = "model.language_model.layers.0"
    assert one[f"{layer}.self_attn.q_proj.bias"].eq(0).all()
    assert one[f"{layer}.input_layernorm.weight"].eq(1).all()
    up, gate = (one[f"{layer}.mlp.{name}_proj.weight"] for name in ("up", "gate"))
    assert up.std().item() == pytest.approx(0.02, rel=0.02) and not up.equal(gate)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The embedded base saved in 4 bits, as hub repositories `*-bnb-4bit` are."""
    folder = tmp_path_factory.mktemp("base")
    load_base(DEMO, CPU).save_pretrained(folder)
    return folder


def test_a_base_saved_in_4_bits_is_loaded_as_it_is(saved):
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        wanted, logits = (load_base(base, CPU)(input_ids=ids).logits for base in (DEMO, saved))
    torch.testing.assert_close(logits, wanted)


@pytest.mark.parametrize(
    ("entries", "quantization", "problem"),
    [
        ({}, "none", "is saved in nf4 and cannot be loaded in none: use --quantization nf4"),
        ({"bnb_4bit_quant_type": "fp4"}, "nf4", "quantised by bitsandbytes, not in NF4"),
        ({"quant_method": "gptq", "load_in_4bit": False}, "nf4", "quantised by gptq, not in NF4"),
        ({"llm_int8_skip_modules": ["lm_head"]}, "nf4", "with model.visual in 4 bit too"),
    ],
)
def test_a_base_saved_otherwise_is_refused_before_its_weights(
    saved, tmp_path, entries, quantization, problem
):
    config = json.loads((saved / "config.json").read_text())
    config["quantization_config"] |= entries
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(ValueError, match=problem):
        load_base(tmp_path, CPU, quantization=quantization)
