"""Layers whose backward is written out give autograd's own numbers, whatever they keep."""

import pytest
import torch
from peft import get_peft_model
from torch.nn import functional

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import load_base
from nutrition_vl.models.runtime import detect_runtime
from training.fast_step import stack
from training.fast_step.kernels import drop, normalize, normalize_backward, swiglu, swiglu_backward
from training.fast_step.lora_linear import LoraLinear
from training.fast_step.stack import fused_layers
from training.settings.recipes import LANGUAGE, QV, Recipe, lora_config

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["nf4", "none"])
def base(request):
    return load_base(DEMO, detect_runtime("cpu"), quantization=request.param)


@pytest.fixture(params=[QV, LANGUAGE], ids=["qv", "all"])
def model(request, base):
    """The embedded base with adapters that do something, taken off again afterwards."""
    torch.manual_seed(0)
    adapted = get_peft_model(base, lora_config(Recipe(request.param), 0.1, "none")).train()
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = torch.randn_like(weight) * 0.05
    yield adapted
    adapted.unload()


def learned(model):
    """States and gradients of a loss that looks at each state in another way."""
    text = model.get_base_model().model.language_model
    torch.manual_seed(1)
    seen = torch.randn(2, 20, text.config.hidden_size).to(text.device, text.dtype)
    positions = torch.arange(20).expand(3, 2, -1) * torch.tensor([1, 2, 3])[:, None, None]
    model.zero_grad()
    given = {"inputs_embeds": seen, "position_ids": positions.to(text.device), "use_cache": False}
    states = text(**given).last_hidden_state
    slope = torch.linspace(-1, 1, states.numel(), device=text.device).view_as(states)
    (states * slope).sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return states.detach(), found


def undrop(model):
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0


def assert_alike(one, other):
    assert one[0].equal(other[0])
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        assert (gradient - other[1][name]).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.parametrize("kept", [0, 3, 99])
def test_the_written_backward_is_autograds(model, kept):
    undrop(model)
    wanted = learned(model)
    with fused_layers(model.get_base_model().model.language_model.layers, kept, graphs=False):
        found = learned(model)
    assert_alike(found, wanted)
    assert_alike(learned(model), wanted)


def test_dropout_is_the_same_where_a_layer_is_computed_again(model):
    layers = model.get_base_model().model.language_model.layers
    found = []
    for kept in (0, len(layers)):
        with fused_layers(layers, kept, graphs=False):
            found.append(learned(model))
    assert_alike(*found)
    dropped = LoraLinear(layers[0].self_attn.q_proj)
    states = torch.ones(50, 256)
    same, other, again = (dropped.drop(states, torch.tensor(seed)) for seed in (7, 8, 7))
    assert same.equal(again) and not same.equal(other)
    assert (same == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert same.max() == pytest.approx(1 / 0.9)


def test_dropout_is_even():
    """A share of 0.1 of a million: 900,000 are kept, give or take 300, anywhere and in any pair."""
    seeds = torch.randint(2**32, (2,))
    one, other = (drop(torch.ones(1000, 1000), seed, 0.1) > 0 for seed in seeds)
    for kept in (one, other):
        assert kept.sum().item() == pytest.approx(900_000, abs=2_000)
        for rows in (kept, kept.T):
            assert rows.sum(1).float().std().item() == pytest.approx(9.5, rel=0.15)  # binomial
        assert (kept[1:] & kept[:-1]).float().mean().item() == pytest.approx(0.81, abs=0.003)
        assert (kept[:, 1:] & kept[:, :-1]).float().mean().item() == pytest.approx(0.81, abs=0.003)
    assert (one & other).float().mean().item() == pytest.approx(0.81, abs=0.003)


class Tape:
    """Stands for a captured graph where there is no GPU: its inputs stay where they are."""

    made = 0

    def __init__(self, function, inputs, pool):
        self.function, self.inputs = function, tuple(tensor.clone() for tensor in inputs)
        self.value = function(*self.inputs)
        Tape.made += 1

    def replay(self, inputs):
        for place, tensor in zip(self.inputs, inputs, strict=True):
            place.copy_(tensor)
        return self.function(*self.inputs)


@pytest.mark.parametrize("kept", [0, 99])
@pytest.mark.parametrize("dropped", [False, True])
def test_replayed_passes_learn_the_same(model, kept, dropped, monkeypatch):
    if not dropped:
        undrop(model)
    layers = model.get_base_model().model.language_model.layers
    wanted = None if dropped else learned(model)  # rounded up to 32 tokens others are dropped
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(stack, "Graph", Tape)
    monkeypatch.setattr(Tape, "made", 0)
    with fused_layers(layers, kept, graphs=True):
        for made in (0, 2, 2):  # the warm-up, there and back captured, and replayed
            found = learned(model)
            wanted = wanted or found
            torch.testing.assert_close(found[0], wanted[0])
            assert_alike((wanted[0], found[1]), wanted)
            assert Tape.made == made


def test_a_capture_finds_everything_compiled(model, monkeypatch):
    class Watched(stack.Pass):
        def forward(self, *given):
            ran.append("there")
            return super().forward(*given)

        def backward(self, *given):
            ran.append("back")
            return super().backward(*given)

    ran = []
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(stack, "Pass", Watched)
    monkeypatch.setattr(stack, "Graph", lambda *given: (ran.append("captured"), Tape(*given))[1])
    with fused_layers(model.get_base_model().model.language_model.layers, 0, graphs=True):
        learned(model)
        ran.clear()
        learned(model)
    assert ran[:5] == ["there", "back", "captured", "there", "captured"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kept", [0, 99])
def test_a_gpu_learns_the_same_from_graphs(kept):
    base = load_base(DEMO, detect_runtime("cuda"))
    model = get_peft_model(base, lora_config(Recipe(LANGUAGE), 0.0, "none")).train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.05)
    layers = base.model.language_model.layers
    wanted = learned(model)
    with fused_layers(layers, kept, graphs=True):
        for _ in range(4):
            states, gradients = learned(model)
            torch.testing.assert_close(states, wanted[0], rtol=0.05, atol=0.05)  # bfloat16
            for name, gradient in gradients.items():
                assert (gradient - wanted[1][name]).norm() <= 0.05 * wanted[1][name].norm(), name


@pytest.mark.parametrize(("kept", "forwards"), [(99, 7), (0, 7 + 6)])
def test_checkpointing_computes_no_layer_once_more(model, kept, forwards, monkeypatch):
    layers, ran = model.get_base_model().model.language_model.layers, []
    plain = LoraLinear.forward
    monkeypatch.setattr(
        LoraLinear, "forward", lambda *given: (ran.append(given[0]), plain(*given))[1]
    )
    model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    with fused_layers(layers, kept, graphs=False):
        learned(model)
    assert len(ran) == forwards * len(layers)
    assert all(layer.gradient_checkpointing for layer in layers)
    model.get_base_model().gradient_checkpointing_disable()


def test_outside_training_a_layer_is_as_it_was(model):
    text = model.get_base_model().model.language_model
    model.eval()
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        wanted = text(input_ids=ids).last_hidden_state
        with fused_layers(text.layers, 0, graphs=False):
            found = text(input_ids=ids, use_cache=True)
    assert found.last_hidden_state.equal(wanted)
    assert found.past_key_values.get_seq_length() == 8


@pytest.mark.parametrize(
    ("function", "backward", "shapes"),
    [(swiglu, swiglu_backward, [(3, 5), (3, 5)]), (normalize, normalize_backward, [(3, 5)])],
)
def test_each_gradient_is_autograds(function, backward, shapes):
    torch.manual_seed(0)
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    fixed = (torch.rand(5), 1e-6) if function is normalize else ()
    result = function(*inputs, *fixed)
    steep = torch.randn_like(result)
    wanted = torch.autograd.grad(result, inputs, steep)
    found = backward(*inputs, *fixed, steep)
    for one, other in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_projection_adds_to_what_is_there():
    layer = LoraLinear(torch.nn.Linear(3, 2, bias=False).requires_grad_(False))
    gradient, there = torch.randn(4, 2), torch.randn(4, 3)
    wanted = there + functional.linear(gradient, layer.weight.T)
    found, learned = layer.backward(gradient, None, seed=0, total=there)
    torch.testing.assert_close(found, wanted)
    assert learned == []
