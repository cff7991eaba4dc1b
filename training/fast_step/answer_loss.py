"""Log-probabilities of labelled tokens, with the output matrix on the GPU or on the CPU.

Replaces TRL's fused loss (trl.kernels.chunked_logprob), which needs the matrix on the GPU and runs
it twice: the matrix is frozen, so the gradient by a position's state follows at once from its
logits, and both are gone before the next positions'.
Buys 1.09 GB of a 7B with `--low_memory True` (docs/benchmarks/low-memory.json).
Off with `--lean_layers False --low_memory False`.
Equal by tests/training/fast_step/test_answer_loss.py.
Can go when TRL takes a matrix in slices.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from training.examples.examples import IGNORED

POSITIONS = 128  # per slice: 78 MB of float32 logits
ROWS = 16384  # of an output matrix on the CPU, per slice: 117 MB in bfloat16 at 7B


@contextmanager
def answer_loss(model: nn.Module) -> Iterator[None]:
    """Computes the model's fused loss here while the context is open, elsewhere as before."""
    plain = model.forward

    @wraps(plain)
    def forward(*args: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if not fused_lm_head:
            return plain(*args, **inputs)
        inputs = {key: value for key, value in inputs.items() if value is not None}
        return fused_output(model, inputs.pop("labels"), inputs)

    model.forward = forward
    yield
    model.forward = plain


def fused_output(model: nn.Module, labels: Tensor, inputs: dict[str, Any]) -> SimpleNamespace:
    """Returns the fields of TRL's FusedCausalLMOutput for labels (batch, length).

    Rows are padded on the right, where causal attention needs no mask. Without M-RoPE positions
    (3, batch, length) they are computed from the tokens.
    """
    core, mask = model.model, inputs.pop("attention_mask", None)
    kinds, grids = inputs.pop("mm_token_type_ids", None), inputs.get("image_grid_thw")
    if "position_ids" not in inputs:
        inputs["position_ids"], _ = core.get_rope_index(
            inputs["input_ids"], kinds, image_grid_thw=grids, attention_mask=mask
        )
    states, tokens = core(**inputs).last_hidden_state[:, :-1], labels[:, 1:]
    labelled = tokens != IGNORED
    columns = LogProbabilities.apply(states[labelled], model.lm_head.weight, tokens[labelled])
    names = ("log_probs", "entropy", "is_top1")
    return SimpleNamespace(**dict(zip(names, columns, strict=True)), label_mask=labelled)


class LogProbabilities(torch.autograd.Function):
    """Log-probability, entropy and top-1 flag of N tokens, each (N,).

    Takes their states (N, width), the frozen output matrix (vocabulary, width) and the tokens (N,).
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(states.device.type, enabled=False):
            slices = zip(states.split(POSITIONS), tokens.split(POSITIONS), strict=True)
            rows = [_log_probabilities(part, weight, ids) for part, ids in slices]
        log_probs, entropy, is_top1, slopes = map(torch.cat, zip(*rows, strict=True))
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(entropy, is_top1)
        return log_probs, entropy, is_top1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradient.to(slopes.dtype)[:, None] * slopes, None, None


def _log_probabilities(states: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
    """Log-probability, entropy, top-1 flag, and the gradient of the first by the states."""
    logs = project(states, weight).float().log_softmax(-1)
    shares = logs.exp()
    log_probs = logs.gather(1, tokens[:, None]).squeeze(1)
    entropy, is_top1 = -(shares * logs).sum(-1), logs.argmax(-1) == tokens
    # d log p(token) / d logits is 1 at the token, less the shares of all.
    by_logits = shares.neg_().scatter_add_(1, tokens[:, None], torch.ones_like(shares[:, :1]))
    by_logits, slopes, start = by_logits.to(states.dtype), torch.zeros_like(states), 0
    for part in pieces(weight, states.device):
        slopes += by_logits[:, start : start + len(part)] @ part
        start += len(part)
    return log_probs, entropy, is_top1, slopes


def project(states: Tensor, weight: Tensor) -> Tensor:
    """Returns the logits (..., vocabulary) of states, on whichever device the matrix is."""
    return torch.cat([states @ part.T for part in pieces(weight, states.device)], dim=-1)


def pieces(weight: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Yields the rows of a matrix on the device: all of them, or slices copied from the CPU."""
    if weight.device == device:
        yield weight
    else:
        for part in weight.split(ROWS):
            yield part.to(device, non_blocking=True)
