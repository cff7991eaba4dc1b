"""Log-probabilities of the labelled tokens alone: no logits where nothing is to be said.

Of 730 positions about 30 have a label, and Qwen2-VL's 152,064 logits for each of the others would
take more memory than all else. The output matrix is frozen, so the gradient of a position's state
is known as soon as its logits are, and they are gone before the next positions' are made.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from training.examples.examples import IGNORED

POSITIONS = 128  # at once: 78 MB of float32 logits
ROWS = 16384  # of an output matrix that lies on the CPU, at once: 117 MB in bfloat16 at 7B


def pieces(weight: Tensor, device: torch.device) -> Iterator[Tensor]:
    """The rows of an output matrix on the device: all at once, or brought there in slices."""
    if weight.device == device:
        yield weight
    else:
        for part in weight.split(ROWS):
            yield part.to(device, non_blocking=True)


def project(states: Tensor, weight: Tensor) -> Tensor:
    """The logits (..., vocabulary) of states, wherever the output matrix lies."""
    return torch.cat([states @ part.T for part in pieces(weight, states.device)], dim=-1)


class LogProbabilities(torch.autograd.Function):
    """Log-probability (N), entropy (N) and whether it was the likeliest (N) of N tokens.

    Takes their states (N, width), the frozen output matrix (vocabulary, width) and the tokens (N).
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(states.device.type, enabled=False):
            parts = zip(states.split(POSITIONS), tokens.split(POSITIONS), strict=True)
            scored = [_score(part, weight, said) for part, said in parts]
        told, entropy, likeliest, slope = (
            torch.cat(column) for column in zip(*scored, strict=True)
        )
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(entropy, likeliest)
        return told, entropy, likeliest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient.to(slope.dtype)[:, None] * slope, None, None


def _score(states: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
    """Log-probability, entropy, likeliest or not, and the gradient of the first by the states."""
    logs = project(states, weight).float().log_softmax(-1)
    shares = logs.exp()
    told = logs.gather(1, tokens[:, None]).squeeze(1)
    entropy, likeliest = -(shares * logs).sum(-1), logs.argmax(-1) == tokens
    # d log p(token) / d logits is 1 at the token, less the shares of all.
    steep = shares.neg_().scatter_add_(1, tokens[:, None], torch.ones_like(shares[:, :1]))
    steep, slope, start = steep.to(states.dtype), torch.zeros_like(states), 0
    for part in pieces(weight, states.device):
        slope += steep[:, start : start + len(part)] @ part
        start += len(part)
    return told, entropy, likeliest, slope


def scored(model: nn.Module, labels: Tensor, inputs: dict[str, Any]) -> SimpleNamespace:
    """What TRL asks of a model in training, for labels (batch, length) padded on the right.

    Causal attention sees nothing of what comes later, so such a batch needs no mask; its positions
    are M-RoPE's (3, batch, length) or are worked out from the tokens.
    """
    core, mask = model.model, inputs.pop("attention_mask", None)
    kinds, shapes = inputs.pop("mm_token_type_ids", None), inputs.get("image_grid_thw")
    if "position_ids" not in inputs:
        inputs["position_ids"], _ = core.get_rope_index(
            inputs["input_ids"], kinds, image_grid_thw=shapes, attention_mask=mask
        )
    states = core(**inputs).last_hidden_state[:, :-1]
    said = labels[:, 1:] != IGNORED
    columns = LogProbabilities.apply(states[said], model.lm_head.weight, labels[:, 1:][said])
    names = ("log_probs", "entropy", "is_top1")
    return SimpleNamespace(**dict(zip(names, columns, strict=True)), label_mask=said)
