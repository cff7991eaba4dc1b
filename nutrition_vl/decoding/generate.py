"""Transformers' own `generate`: answers free of any grammar, and the measure of our decoding."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GenerationConfig

from nutrition_vl.decoding.draft import Token
from nutrition_vl.decoding.grammar import State
from nutrition_vl.decoding.inputs import Question, collate

Follow = Callable[[list[int]], list[int]]
MAX_NEW_TOKENS = 128  # a box takes about 26


def greedy(tokenizer: Any) -> GenerationConfig:
    """Greedy decoding that keeps the logits, with nothing left to a checkpoint's own taste."""
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        return_dict_in_generate=True,
        output_logits=True,
    )


@torch.inference_mode()
def generate(
    model: Any, questions: Sequence[Question], follow: Follow | None = None
) -> list[list[Token] | None]:
    """The answer to each question, its end included, None where numbers overflowed.

    `follow` says which tokens may follow those said, any if it is not given. Math attention only:
    which fused kernel runs depends on the machine, and each rounds its own way.
    """
    inputs = collate(questions, model.generation_config.pad_token_id).to(model.device)
    prompt = inputs["input_ids"].shape[1]
    allowed = (lambda photo, ids: follow(ids[prompt:].tolist())) if follow else None
    with sdpa_kernel(SDPBackend.MATH):
        output = model.generate(**inputs, prefix_allowed_tokens_fn=allowed)
    said = output.sequences[:, prompt:]
    steps = [
        logits.float().log_softmax(-1).gather(1, chosen[:, None])
        for logits, chosen in zip(output.logits, said.T, strict=True)
    ]
    scores = torch.cat(steps, dim=1)
    return [_tokens(model, *row) for row in zip(said.tolist(), scores.tolist(), strict=True)]


@torch.inference_mode()
def following(model: Any, question: Question, said: list[int]) -> Tensor:
    """The logits (vocabulary,) of what follows these tokens, by one ordinary pass over it all."""
    inputs = collate([question], 0)
    added = {
        "input_ids": said,
        "attention_mask": [1] * len(said),
        "mm_token_type_ids": [0] * len(said),
    }
    for name, values in added.items():
        more = torch.tensor([values], dtype=inputs[name].dtype)
        inputs[name] = torch.cat([inputs[name], more], dim=1)
    with sdpa_kernel(SDPBackend.MATH):
        return model(**inputs.to(model.device), logits_to_keep=1).logits[0, -1].float()


def inside(start: State) -> Follow:
    """What may follow in the grammar."""

    def follow(said: list[int]) -> list[int]:
        state = start
        for token in said:
            state = state if state.ended else state.after(token)
        return list(state.choices()) or [state.spelling.end]

    return follow


def _tokens(model: Any, ids: list[int], scores: list[float]) -> list[Token] | None:
    end, size = model.generation_config.eos_token_id, model.config.text_config.vocab_size
    length = ids.index(end) + 1 if end in ids else len(ids)
    if any(score != score for score in scores[:length]):
        return None
    return [Token(*pair, choices=size) for pair in zip(ids[:length], scores, strict=False)]
