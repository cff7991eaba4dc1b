"""How a base lies in memory: which weights in how many bits, and which of them on the GPU."""

from collections import Counter

from accelerate.hooks import remove_hook_from_submodules
from accelerate.utils import parse_flag_from_env
from bitsandbytes.nn import Linear4bit
from transformers import BitsAndBytesConfig, PreTrainedModel

from nutrition_vl.models.runtime import Runtime

# Full names: "visual" alone matches nothing since transformers 4.52; a list replaces the default
# exception, "lm_head".
FULL_PRECISION = ("model.visual", "lm_head")
QUANTIZATIONS = ("nf4", "nf4-single", "int8", "none")  # single: the scales stay in float32

# To train on a small GPU: words are looked up, and multiplied with in slices, where these lie.
SPARED = ("model.language_model.embed_tokens", "lm_head")  # 1.09 GB each of a 7B
REST = (
    "model.visual",
    "model.language_model.layers",
    "model.language_model.norm",
    "model.language_model.rotary_emb",
)


def nf4_config(runtime: Runtime, double: bool = True) -> BitsAndBytesConfig:
    """NF4 with double quantisation (QLoRA, arXiv:2305.14314) for all but FULL_PRECISION."""
    wanted = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": double,
        "bnb_4bit_compute_dtype": runtime.dtype,
        "llm_int8_skip_modules": list(FULL_PRECISION),
    }
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        # Only floating-point numbers are spread over several cards: the packed bits pose as such.
        wanted["bnb_4bit_quant_storage"] = runtime.dtype
    config = BitsAndBytesConfig(**wanted)
    # BitsAndBytesConfig swallows keywords it does not know, and the model would be another one.
    if swallowed := [key for key, value in wanted.items() if getattr(config, key, None) != value]:
        raise TypeError(f"BitsAndBytesConfig ignored {', '.join(swallowed)}")
    return config


def quantized(runtime: Runtime, quantization: str, spare: bool) -> BitsAndBytesConfig | None:
    """transformers' settings for one of QUANTIZATIONS."""
    if quantization == "none":
        return None
    if quantization == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(FULL_PRECISION))
    else:
        config = nf4_config(runtime, double=quantization == "nf4")
    config.llm_int8_enable_fp32_cpu_offload = spare  # else a CPU among `places` is an error
    return config


def places(device: str, spare: bool) -> dict[str, str]:
    """Which part is loaded where: transformers' `device_map`."""
    return dict.fromkeys(REST, device) | dict.fromkeys(SPARED, "cpu") if spare else {"": device}


def unhooked(model: PreTrainedModel) -> PreTrainedModel:
    """The model without accelerate's hooks, which bring SPARED to the GPU whole in each forward.

    It then says that all of it is on the GPU: told of several places the trainer refuses it, and
    told of none it moves SPARED there.
    """
    used = {*getattr(model, "hf_device_map", {}).values()}
    if len(used) > 1:
        remove_hook_from_submodules(model)
        for module in model.modules():
            vars(module).pop("forward", None)
        (model.hf_device_map,) = ({"": place} for place in used - {"cpu"})
    return model


def exact(model: PreTrainedModel) -> PreTrainedModel:
    """The model, whose 4-bit layers now multiply on a CPU in the type they were told to.

    With AVX512-BF16 bitsandbytes repacks them, which leaves them without a gradient, to multiply in
    bfloat16: of 117 photos 8 then got other words than in float32, and 2 other words token by token
    than in fewer steps. In float32 all 117 agree, and the demo takes 0.02 s longer.
    """
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False
    return model


def linear4bit_layers(model: PreTrainedModel) -> Counter[str]:
    """How many 4-bit layers each part of the model has: language_model, visual, lm_head."""
    parts = ("language_model", "visual", "lm_head")
    names = [name for name, layer in model.named_modules() if isinstance(layer, Linear4bit)]
    return Counter(part for name in names for part in parts if part in name.split("."))


def check_quantized(model: PreTrainedModel) -> None:
    """ValueError unless the language model alone is in 4 bit."""
    layers = linear4bit_layers(model)
    if set(layers) != {"language_model"}:
        raise ValueError(f"only the language model must be in 4 bit, but {dict(layers)} layers are")
