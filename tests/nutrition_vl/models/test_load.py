"""The 4-bit recipe, the pixel budget, and what is refused before or after loading."""

import json
import shutil

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import linear

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget, attach, budget_of, load_base, load_processor
from nutrition_vl.models.quantization import linear4bit_layers, nf4_config
from nutrition_vl.models.runtime import Runtime, detect_runtime

CPU = detect_runtime("cpu")


@pytest.fixture(scope="module")
def processor():
    return load_processor(DEMO)


@pytest.fixture(scope="module")
def base():
    """The demo's base of its own, for tests that put adapters on it."""
    return load_base(DEMO, CPU)


@pytest.fixture
def adapter(tmp_path):
    """A copy of the demo's adapter to spoil."""
    return shutil.copytree(DEMO / "adapter", tmp_path / "adapter")


def rewrite(folder, change):
    """Replaces the weights in an adapter folder by change(name, weight); None leaves one out."""
    weights = load_file(folder / "adapter_model.safetensors")
    changed = {name: change(name, weight) for name, weight in weights.items()}
    kept = {name: weight for name, weight in changed.items() if weight is not None}
    save_file(kept, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_field_of_the_4_bit_recipe_arrives(dtype):
    config = nf4_config(Runtime(torch.device("cuda"), dtype, "sdpa", None, ""))
    assert config.load_in_4bit is True
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant is True
    assert config.bnb_4bit_compute_dtype == dtype
    assert config.llm_int8_skip_modules == ["model.visual", "lm_head"]
    assert config.bnb_4bit_quant_storage == torch.uint8


def test_spread_over_cards_the_packed_weights_pose_as_numbers_and_stay_the_same(base, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    spread = load_base(DEMO, CPU).model.language_model.layers[0].self_attn.q_proj
    whole = base.model.language_model.layers[0].self_attn.q_proj
    assert (spread.weight.dtype, whole.weight.dtype) == (CPU.dtype, torch.uint8)
    assert spread.weight.view(torch.uint8).flatten().equal(whole.weight.flatten())


def test_the_language_model_is_in_4_bit_and_nothing_else(base):
    config = base.config.text_config
    assert linear4bit_layers(base) == {"language_model": 7 * config.num_hidden_layers}
    layer = base.model.language_model.layers[0].self_attn.q_proj
    assert isinstance(layer, Linear4bit)
    assert layer.weight.quant_type == "nf4"
    assert layer.weight.quant_state.nested  # the scales are quantised too
    assert base.model.visual.blocks[0].attn.qkv.weight.dtype == torch.float32
    assert not base.training


def test_4_bit_layers_multiply_in_float32_whatever_the_processor(base):
    layer = base.model.language_model.layers[0].self_attn.q_proj
    rows = torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(0))
    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    with torch.inference_mode():
        torch.testing.assert_close(layer(rows), linear(rows, weight, layer.bias))


@pytest.mark.parametrize(
    ("size", "budget", "fitted"),
    [
        ((280, 560), PixelBudget(4, 600), (280, 560)),  # 10 x 20 tokens: as it is
        ((290, 570), PixelBudget(4, 600), (280, 560)),  # the nearest whole tokens
        ((4000, 3000), PixelBudget(4, 192), (448, 336)),  # 16 x 12 = 192 tokens
        ((28, 28), PixelBudget(4, 600), (56, 56)),  # one token is too few
        ((150, 1), PixelBudget(4, 600), (140, 28)),  # a line is one token high
        ((191, 1), PixelBudget(4, 192), (196, 28)),
    ],
)
def test_a_photo_is_resized_to_whole_tokens_within_the_budget(processor, size, budget, fitted):
    assert budget.fit(Image.new("RGB", size), processor.image_processor).size == fitted


@pytest.mark.parametrize("size", [(4000, 3000), (571, 333), (150, 1), (1, 1), (30, 5000)])
def test_the_processor_changes_a_fitted_photo_no_further(size):
    budget = PixelBudget(4, 192)
    resizer = load_processor(DEMO, budget).image_processor
    fitted = budget.fit(Image.effect_noise(size, 90).convert("RGB"), resizer)
    pixels = resizer(images=[fitted], return_tensors="pt")
    untouched = resizer(images=[fitted], do_resize=False, return_tensors="pt")
    assert torch.equal(pixels["pixel_values"], untouched["pixel_values"])
    tokens = int(pixels["image_grid_thw"].prod()) // 4
    assert budget.min_tokens <= tokens <= budget.max_tokens


@pytest.mark.parametrize("size", [(200, 1), (1, 4000), (10, 1920)])
def test_a_strip_is_refused_in_one_sentence(processor, size):
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]} pixels: crop it.* 192 times"):
        PixelBudget(4, 192).fit(Image.new("RGB", size), processor.image_processor)


def test_a_budget_is_saved_with_the_processor(tmp_path):
    load_processor(DEMO, PixelBudget(16, 64)).save_pretrained(tmp_path)
    assert budget_of(load_processor(tmp_path)) == PixelBudget(16, 64)


def test_a_budget_counts_pixels_by_the_patches_of_the_processor(processor):
    size = PixelBudget(4, 600).size(processor.image_processor)
    assert size == {"shortest_edge": 4 * 28 * 28, "longest_edge": 600 * 28 * 28}


def test_an_adapter_is_put_beside_others(base, adapter):
    rewrite(adapter, lambda name, weight: weight + 1)
    first = attach(base, DEMO / "adapter", "first")
    assert attach(first, adapter, "second") is first
    module = base.model.language_model.layers[0].self_attn.q_proj
    difference = module.lora_B["second"].weight - module.lora_B["first"].weight
    assert torch.allclose(difference, torch.ones(()), atol=1e-2)
    first.unload()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, weight: weight * 0, "changes nothing: every LoRA B is zero"),
        (lambda name, weight: None if "layers.1." in name else weight, "did not attach: "),
        (lambda name, weight: weight.repeat(2, 2), "made for a model of another size"),
    ],
)
def test_an_adapter_that_does_not_attach_is_refused_and_leaves_the_base_alone(
    base, adapter, change, message
):
    names = [name for name, _ in base.named_modules()]
    rewrite(adapter, change)
    with pytest.raises(ValueError, match=message):
        attach(base, adapter, "spoilt")
    assert [name for name, _ in base.named_modules()] == names


def test_a_spoilt_adapter_leaves_the_others_alone(base, adapter):
    grown = attach(base, DEMO / "adapter", "good")
    rewrite(adapter, lambda name, weight: weight * 0)
    with pytest.raises(ValueError, match="changes nothing"):
        attach(grown, adapter, "spoilt")
    assert list(grown.peft_config) == ["good"]
    assert grown.active_adapters == ["good"]
    grown.unload()


def test_an_adapter_for_other_layers_is_refused(base, adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["target_modules"] = ["query_key_value"]
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit the model"):
        attach(base, adapter, "other")


@pytest.mark.parametrize("change", [{"peft_type": "NEW"}, {"peft_type": None}, {"task_type": "X"}])
def test_an_adapter_of_an_unknown_kind_is_refused(base, adapter, change):
    config = json.loads((adapter / "adapter_config.json").read_text()) | change
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"adapter_config\.json cannot be read, copy or train a LoRA"
    ):
        attach(base, adapter, "unknown")


@pytest.mark.parametrize("text", ["{}", "[]", "5", "{"])
def test_an_adapter_without_its_settings_is_refused(base, adapter, text):
    names = [name for name, _ in base.named_modules()]
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"the adapter in|adapter_config\.json cannot be read"):
        attach(base, adapter, "bare")
    assert [name for name, _ in base.named_modules()] == names


BROKEN = [
    ("tokenizer.json", "{}"),
    ("tokenizer.json", "[]"),
    ("tokenizer.json", '{"model": '),
    ("tokenizer.json", '{"added_tokens": [], "model": {"type": "BPE", "vocab": 5, "merges": []}}'),
    ("tokenizer_config.json", "[]"),
    ("processor_config.json", "[]"),
    ("processor_config.json", '{"image_processor": {}}'),
    ("processor_config.json", '{"image_processor": 5}'),
    ("chat_template.jinja", "{% if"),
    ("chat_template.jinja", "{{ messages + 1 }}"),
    ("chat_template.jinja", "Where is the table?"),
]


@pytest.mark.parametrize(("name", "text"), BROKEN)
def test_a_broken_file_of_a_processor_is_one_sentence(adapter, name, text):
    (adapter / name).write_text(text)
    place = f"adapter(/{name})? cannot be read, copy the whole folder again"
    with pytest.raises(ValueError, match=place) as caught:
        load_processor(adapter)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json", "chat_template.jinja"])
def test_a_missing_file_of_a_processor_is_named(adapter, name):
    (adapter / name).unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=name):
        load_processor(adapter)


def test_pickled_weights_are_not_read(base, adapter, tmp_path):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_model\.safetensors"):
        attach(base, adapter, "pickled")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ValueError, match=r"found only pytorch_model\.bin, pickles"):
        load_base(tmp_path, CPU)


def test_a_damaged_adapter_is_refused(base, adapter):
    (adapter / "adapter_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="damaged weights"):
        attach(base, adapter, "damaged")


def test_a_folder_that_is_no_whole_base_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no model folder"):
        load_base(tmp_path / "nowhere", CPU)
    shutil.copy(DEMO / "config.json", tmp_path)
    with pytest.raises(ValueError, match=r"as \*\.safetensors; found none"):
        load_base(tmp_path, CPU)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="not a whole model folder"):
        load_base(tmp_path, CPU)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"not a Qwen2-VL model: its config\.json says 'bert'"):
        load_base(tmp_path, CPU)


def test_weights_that_are_not_all_there_are_refused(tmp_path):
    for name in ("config.json", "generation_config.json"):
        shutil.copy(DEMO / name, tmp_path)
    weights = load_file(DEMO / "model.safetensors")
    weights.pop(next(name for name in weights if "layers.0.mlp" in name))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack .*layers\.0\.mlp.* and 0 more"):
        load_base(tmp_path, CPU)
