"""Plain decoding by transformers' own `generate`: the reference, `--decoder generate`, `--free`."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GenerationConfig

from nutrition_vl.boxes import GRID, LABELS, from_text
from nutrition_vl.decoding.decoded import Decoded, DecodedBox, Token, overflows, summarize
from nutrition_vl.decoding.grammar import State
from nutrition_vl.decoding.inputs import ModelInputs, collate

MAX_NEW_TOKENS = 128  # a box takes about 26


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    inputs: Sequence[ModelInputs],
    start: State | None = None,
    forced: Sequence[int] = (),
) -> list[Decoded]:
    """One answer per photo, greedily; inside the grammar from `start`, or free without it.

    Answers begin with the `forced` tokens. Math attention only: the choice of a fused kernel
    depends on the machine, and each rounds its own way.
    """
    batch = collate(inputs, tokenizer.pad_token_id).to(model.device)
    prompt = batch["input_ids"].shape[1]
    choices = _choices(start, forced)
    allowed = (lambda photo, ids: choices(ids[prompt:].tolist())) if start or forced else None
    # The checkpoint's own settings would fill in what a call leaves open: the hub's Qwen2-VL has a
    # repetition penalty, which spoils repeated digits.
    own, model.generation_config = model.generation_config, greedy(tokenizer)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            output = model.generate(**batch, prefix_allowed_tokens_fn=allowed)
    finally:
        model.generation_config = own
    logits = torch.stack(output.logits, dim=1)
    rows = zip(output.sequences[:, prompt:].tolist(), logits, strict=True)
    return [_constrained(start, *row) if start else _free(tokenizer, *row) for row in rows]


def greedy(tokenizer: Any) -> GenerationConfig:
    """Greedy decoding that returns the logits."""
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        return_dict_in_generate=True,
        output_logits=True,
    )


@torch.inference_mode()
def next_logits(model: Any, inputs: ModelInputs, tokens: list[int]) -> Tensor:
    """The logits (vocabulary,) after prompt and tokens, by one ordinary forward pass."""
    batch = collate([inputs], 0)
    added = {
        "input_ids": tokens,
        "attention_mask": [1] * len(tokens),
        "mm_token_type_ids": [0] * len(tokens),
    }
    for name, values in added.items():
        more = torch.tensor([values], dtype=batch[name].dtype)
        batch[name] = torch.cat([batch[name], more], dim=1)
    with sdpa_kernel(SDPBackend.MATH):
        return model(**batch.to(model.device), logits_to_keep=1).logits[0, -1].float()


def _choices(start: State | None, forced: Sequence[int]) -> Callable[[list[int]], list[int]]:
    """The tokens that may follow an answer's first tokens; `forced` alone ends the answer."""

    def choices(tokens: list[int]) -> list[int]:
        if len(tokens) < len(forced):
            return [forced[len(tokens)]]
        state = start
        assert state is not None
        for token in tokens:
            state = state if state.ended else state.after(token)
        return list(state.choices()) or [state.spelling.end]

    return choices


def _constrained(start: State, ids: list[int], logits: Tensor) -> Decoded:
    """The answer of these tokens, whose logits are (tokens, vocabulary)."""
    alphabet = torch.tensor(start.spelling.alphabet, device=logits.device)
    answer, state = Decoded(), start
    for token, prediction in zip(ids, summarize(logits, alphabet).cpu().numpy(), strict=False):
        answer.overflowed = not state.ended and overflows(prediction)
        if answer.overflowed or state.ended:
            break
        state = answer.append(state, prediction, forced=token)
    return answer


def _free(tokenizer: Any, ids: list[int], logits: Tensor) -> Decoded:
    """The answer of any tokens, its boxes parsed from the text."""
    end = tokenizer.eos_token_id
    length = ids.index(end) + 1 if end in ids else len(ids)
    chosen = torch.tensor(ids[:length], device=logits.device)[:, None]
    scores = logits[:length].float().log_softmax(-1).gather(1, chosen)[:, 0]
    pairs = zip(ids, scores.tolist(), strict=False)
    tokens = [Token(*pair, choices=logits.shape[-1]) for pair in pairs]
    boxes, malformed = _parse(tokens, tokenizer)
    return Decoded(tokens, boxes, malformed, overflowed=bool(scores.isnan().any()))


def _parse(tokens: Sequence[Token], tokenizer: Any) -> tuple[list[DecodedBox], int]:
    """The boxes in the text of these tokens, and how many are malformed."""
    words = list(takewhile(lambda token: token.id != tokenizer.eos_token_id, tokens))
    ids = [token.id for token in words]
    # Decoded from the start each time: a character may take several tokens.
    texts = [tokenizer.decode(ids[:count]) for count in range(len(ids) + 1)]
    parsed = from_text(texts[-1], (GRID, GRID))
    ends = [len(text) for text in texts[1:]]
    assert parsed.detections.class_id is not None
    rows = zip(parsed.detections.class_id, parsed.detections.xyxy, parsed.spans, strict=True)
    boxes = [
        DecodedBox(
            LABELS[label],
            tuple(int(edge) for edge in corners),
            tuple(corners.tolist()),
            words[bisect_right(ends, begin)].score,
        )
        for label, corners, (begin, _) in rows
    ]
    return boxes, parsed.malformed
