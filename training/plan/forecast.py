"""Forecasts a training step's peak memory from shapes alone, before any weight is loaded.

Four parts: weights, adapters with their optimiser, activations for the backward pass, workspace of
one layer. docs/benchmarks/memory-h100/memory.md has it next to measured peaks: 7.57 GB for 7.54
in the default plan of a 7B, within 7 % in most others.
"""

from torch import nn

from nutrition_vl.models.family import part_of
from training.fast_step.answer_loss import POSITIONS, ROWS
from training.plan.parameter_counts import quantizable
from training.plan.plan import Plan, Workload
from training.settings.config import TrainConfig

# Bytes per weight: NF4 has half a byte and a scale per 64 weights (8 bits, and 32 per 256 scales;
# 32 bits without double quantisation), LLM.int8 one byte.
BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "nf4-single": 0.5 + 4 / 64, "int8": 1.0}
# PyTorch gives cuBLAS 32 MiB on Hopper GPUs, once for the forward and once for the backward pass.
CUBLAS = 2 * 2**25
TRL_TILE = (4096, 32768)  # positions and words in a tile of logits (trl.kernels.chunked_logprob)


def forecast(config: TrainConfig, work: Workload, plan: Plan) -> dict[str, float]:
    """Returns the bytes of each part at the peak of a step."""
    number = config.runtime.dtype.itemsize
    kept, layer = _language_model(config, work, plan)
    if any(part_of(name) == "visual" for name in work.trained):
        vision_kept, vision_layer = _vision_tower(config, work, plan)
        # The way back through the tower begins when the language model's activations are free.
        kept, layer = kept + vision_kept, max(layer, vision_layer - kept)
    pixels = 0 if plan.cache_features else 4 * plan.micro_batch * work.patches * _patch(work)
    return {
        "weights": _weights(config, work, plan),
        # A weight and its gradient in float32, and two averages of Adam in 8 or 32 bits.
        "training": work.trained.total() * (10 if "8bit" in str(config.optim) else 16),
        "activations": number * kept + pixels,
        "workspace": _workspace(config, work, plan, number * layer),
    }


def checkpoint_bytes(config: TrainConfig, plan: Plan, photos: int) -> float:
    """Returns the bytes of all checkpoints: adapter and optimiser, and 20 MB of tokenizer and card
    in each."""
    if config.save_strategy == "no":
        return 0.0
    batch = plan.micro_batch * plan.accumulation
    steps = config.max_steps if config.max_steps > 0 else photos / batch * config.num_train_epochs
    every = config.save_steps if config.save_strategy == "steps" else photos / batch
    saved = max(1.0, steps / max(1.0, every))
    return min(saved, config.save_total_limit or saved) * (plan.forecast["training"] + 20e6)


def _weights(config: TrainConfig, work: Workload, plan: Plan) -> float:
    """Bytes of the base on the GPU; input and output share one matrix where they are tied."""
    model, number = work.model, config.runtime.dtype.itemsize
    packed = quantizable(model).total()
    plain = _count(model) - packed
    matrix = model.get_input_embeddings().weight.numel()
    tied = model.config.tie_word_embeddings
    plain -= _count(model.model.visual) * plan.cache_features
    plain -= matrix * plan.offload_embeddings + matrix * (plan.offload_lm_head and not tied)
    return packed * BYTES.get(config.quantization, number) + plain * number


def _language_model(config: TrainConfig, work: Workload, plan: Plan) -> tuple[float, float]:
    """Numbers that are kept of all layers, and numbers of one layer on its way back.

    Autograd keeps the inputs of a layer's two norms in float32 (as two numbers of bfloat16 each),
    query, key, value and output of attention, three vectors of the MLP and the adapters' inputs.
    """
    text = work.model.config.text_config
    layers, width, mlp = text.num_hidden_layers, text.hidden_size, 3 * text.intermediate_size
    tokens = plan.micro_batch * work.tokens
    shared = 2 * width * text.num_key_value_heads / text.num_attention_heads
    if plan.fast_layers:
        trace = 3 * width + shared + 2 * text.intermediate_size
        kept = layers * width + max(1, plan.layers_kept) * trace
        return tokens * kept, tokens * (4 * width + mlp)
    if plan.micro_batch > 1:  # padded rows have a mask, with which keys and values are repeated
        shared = 2 * width
    saved = 6 * width + shared + mlp + _adapter_inputs(config, work, "language_model") / layers
    saved += _scores(config, text.num_attention_heads, work.tokens)
    return _kept(config, layers * tokens, tokens, width, saved, 2 * width + mlp)


def _vision_tower(config: TrainConfig, work: Workload, plan: Plan) -> tuple[float, float]:
    """The same of a tower that is trained. Query and key are copies of a part of their joint
    projection, and the MLP keeps two vectors."""
    vision = work.model.config.vision_config
    layers, width, mlp = vision.depth, vision.embed_dim, 2 * vision.mlp_ratio * vision.embed_dim
    patches = plan.micro_batch * work.patches
    saved = 10 * width + mlp + _adapter_inputs(config, work, "visual") / layers
    saved += _scores(config, vision.num_heads, work.patches)
    return _kept(config, layers * patches, patches, width, saved, 2 * width + mlp)


def _kept(
    config: TrainConfig, all_rows: int, rows: int, width: int, saved: float, gradients: float
) -> tuple[float, float]:
    """All that autograd keeps and one layer's gradients; checkpointing keeps inputs alone and
    computes the rest of one layer again."""
    if config.gradient_checkpointing:
        return all_rows * width, rows * (saved + gradients)
    return all_rows * saved, rows * gradients


def _workspace(config: TrainConfig, work: Workload, plan: Plan, layer: float) -> float:
    """Bytes of one layer with its weights dequantised, or of the logits where they are more.

    CUDA graphs free nothing: both, their inputs and outputs in both directions, and their cuBLAS.
    """
    text, number = work.model.config.text_config, config.runtime.dtype.itemsize
    labels = plan.micro_batch * work.labels
    if config.quantization in BYTES:
        layer += max(quantizable(work.model).values()) * number
    logits = min(labels, TRL_TILE[0]) * TRL_TILE[1] * number
    if plan.own_loss:
        logits = min(labels, POSITIONS) * text.vocab_size * (number + 12)
        logits += ROWS * text.hidden_size * number if plan.offload_lm_head else 0
    if plan.cuda_graphs:
        states = plan.micro_batch * work.tokens * text.hidden_size * number
        return layer + logits + 4 * states + 2 * CUBLAS
    return max(layer, logits) + CUBLAS * (config.runtime.device.type == "cuda")


def _scores(config: TrainConfig, heads: int, tokens: int) -> int:
    """Numbers per token that eager attention keeps: its scores before and after the softmax."""
    return 4 * heads * tokens if config.attention == "eager" else 0


def _adapter_inputs(config: TrainConfig, work: Workload, part: str) -> float:
    """Numbers per token that a part's adapters keep; dropout adds half of them, a byte each."""
    layers = (work.model.get_submodule(name) for name in work.trained if part_of(name) == part)
    inputs = sum(layer.in_features for layer in layers if isinstance(layer, nn.Linear))
    return inputs * (1.5 if config.lora_dropout else 1)


def _patch(work: Workload) -> int:
    """Numbers of a patch of the photo."""
    vision = work.model.config.vision_config
    return vision.in_channels * vision.temporal_patch_size * vision.patch_size**2


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
