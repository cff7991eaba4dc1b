"""Quantisation of a base: which weights in how many bits, and which of them off the GPU."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from accelerate.hooks import remove_hook_from_submodules
from accelerate.utils import parse_flag_from_env
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import Tensor
from transformers import BitsAndBytesConfig, PreTrainedModel

from nutrition_vl.models.family import QWEN2_VL, Family, part_of
from nutrition_vl.models.names import (
    INT8,
    NF4,
    NF4_SINGLE,
    NONE,
    QUANTIZATIONS,
    check_choice,
)
from nutrition_vl.models.runtime import Runtime


def check_quantization(name: str) -> str:
    """The name, if it is one of QUANTIZATIONS; ValueError otherwise."""
    return check_choice("quantization", name, QUANTIZATIONS)


def nf4_config(
    runtime: Runtime, double: bool = True, family: Family = QWEN2_VL
) -> BitsAndBytesConfig:
    """NF4 for all parts but the family's `not_quantized`."""
    wanted = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": double,
        "bnb_4bit_compute_dtype": runtime.dtype,
        "llm_int8_skip_modules": list(family.not_quantized),
    }
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        # FSDP shards floating-point tensors alone: the packed bits pretend to be some.
        wanted["bnb_4bit_quant_storage"] = runtime.dtype
    config = BitsAndBytesConfig(**wanted)
    # BitsAndBytesConfig ignores keywords that it does not know, and the model would be another one.
    if ignored := [key for key, value in wanted.items() if getattr(config, key, None) != value]:
        raise TypeError(f"BitsAndBytesConfig ignored {', '.join(ignored)}")
    return config


def quantization_config(
    runtime: Runtime, quantization: str, offload_embeddings: bool, family: Family = QWEN2_VL
) -> BitsAndBytesConfig | None:
    """transformers' settings for one of QUANTIZATIONS."""
    if check_quantization(quantization) == NONE:
        return None
    if quantization == INT8:
        skipped = list(family.not_quantized)
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    else:
        config = nf4_config(runtime, double=quantization == NF4, family=family)
    # Without it transformers refuses a CPU in the device map.
    config.llm_int8_enable_fp32_cpu_offload = offload_embeddings
    return config


def check_saved_quantization(
    source: object, saved: Mapping[str, Any] | None, quantization: str, family: Family = QWEN2_VL
) -> None:
    """ValueError unless a base that is `saved` quantised (its config.json) can be used as it is.

    Called before weights are downloaded. Its own quantisation cannot be changed.
    """
    if saved is None:
        return
    if not saved.get("load_in_4bit") or saved.get("bnb_4bit_quant_type") != "nf4":
        method = saved.get("quant_method", "unknown")
        raise ValueError(
            f"{source} is saved quantised by {method}, not in NF4: name a base in 16 bits"
        )
    own = NF4 if saved.get("bnb_4bit_use_double_quant") else NF4_SINGLE
    if quantization != own:
        raise ValueError(
            f"{source} is saved in {own} and cannot be loaded in {quantization}: "
            f"use --quantization {own}, or a base in 16 bits"
        )
    if missing := {*family.not_quantized} - {*(saved.get("llm_int8_skip_modules") or ())}:
        raise ValueError(
            f"{source} is saved with {' and '.join(sorted(missing))} in 4 bit too, which finds "
            "other boxes: name a base in 16 bits"
        )


def device_map(device: str, offload_embeddings: bool, family: Family = QWEN2_VL) -> dict[str, str]:
    """The device of each part; offloaded embeddings and output matrix (1.09 GB each of a 7B) stay
    in CPU memory, to train on a small GPU."""
    if not offload_embeddings:
        return {"": device}
    language = [f"{family.language_model}.{part}" for part in family.language_parts]
    offloaded = dict.fromkeys((family.embeddings, family.head), "cpu")
    return dict.fromkeys((family.vision, *language), device) | offloaded


def remove_offload_hooks(model: PreTrainedModel) -> PreTrainedModel:
    """The model without accelerate's hooks, which copy offloaded parts to the GPU in each forward.

    Its `hf_device_map` then names the GPU alone: with several devices the trainer refuses the
    model, and with none it moves the offloaded parts there.
    """
    devices = {*getattr(model, "hf_device_map", {}).values()}
    if len(devices) > 1:
        remove_hook_from_submodules(model)
        for module in model.modules():
            vars(module).pop("forward", None)
        (model.hf_device_map,) = ({"": device} for device in devices - {"cpu"})
    return model


def keep_float32_matmul(model: PreTrainedModel) -> PreTrainedModel:
    """The model, whose 4-bit layers now multiply in their compute dtype on every CPU.

    With AVX512-BF16 bitsandbytes repacks them to multiply in bfloat16, and they lose the gradient.
    Of 117 photos 8 then got other answers than in float32, and 2 other answers token by token than
    in fewer steps. In float32 all 117 agree, and the demo takes 0.02 s longer.
    """
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.compute_dtype = model.dtype  # a base saved in 4 bit brings its own
            layer.support_avx512bf16_for_cpu = False
    return model


def is_int8(model: PreTrainedModel) -> bool:
    """True for a model with LLM.int8 layers (arXiv:2208.07339)."""
    return any(isinstance(layer, Linear8bitLt) for layer in model.modules())


def unpacked_weights(model: PreTrainedModel, limit: int) -> dict[Linear4bit, Tensor]:
    """The weights (out, in) of all 4-bit layers in their compute dtype; none if these are more than
    `limit` numbers."""
    layers = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    if sum(layer.in_features * layer.out_features for layer in layers) > limit:
        return {}
    return {
        layer: dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(layer.compute_dtype)
        for layer in layers
    }


def linear4bit_layers(model: PreTrainedModel) -> Counter[str]:
    """The number of 4-bit layers per part of the model: language_model, visual, lm_head."""
    names = [name for name, layer in model.named_modules() if isinstance(layer, Linear4bit)]
    return Counter(map(part_of, names))


def check_quantized(model: PreTrainedModel) -> None:
    """ValueError unless the language model alone is in 4 bit."""
    layers = linear4bit_layers(model)
    if set(layers) != {"language_model"}:
        raise ValueError(f"only the language model must be in 4 bit, but {dict(layers)} layers are")
