"""The language of answers for servers: a structural tag of XGrammar, as vLLM and SGLang take it.

A regular expression would not do: servers mask special tokens in it, and boxes are written with
them. Unlike our grammar a structural tag cannot say that x1 > x0, nor that no box comes twice.
Format: https://xgrammar.mlc.ai/docs/tutorials/structural_tag.html (`token` and `repeat` since 0.2).
"""

import re
from typing import Any

from nutrition_vl.boxes import GRID, LABELS, make_detections, to_text
from nutrition_vl.decoding.grammar import MAX_BOXES


def structural_tag(tokenizer: Any) -> dict[str, Any]:
    """Returns the tag for a model with this tokenizer: no box, or up to MAX_BOXES boxes."""
    box = to_text(make_detections([[0, 0, 1, 1]]), (GRID, GRID))
    parts = [part for part in re.split(r"(<\|\w+\|>)", box) if part]
    content = {"type": "sequence", "elements": [_element(part, tokenizer) for part in parts]}
    boxes = {"type": "repeat", "min": 0, "max": MAX_BOXES, "content": content}
    return {"type": "structural_tag", "format": boxes}


def _element(part: str, tokenizer: Any) -> dict[str, Any]:
    """One part of a box's text: a special token, the label, or the four numbers."""
    if part.startswith("<|"):
        return {"type": "token", "token": tokenizer.convert_tokens_to_ids(part)}
    if part in LABELS:
        return {"type": "regex", "pattern": "|".join(LABELS)}
    below = f"[1-9][0-9]{{0,{len(str(GRID)) - 2}}}"  # 1 to GRID - 1, without leading zeros
    first, second = f"(0|{below})", f"({below}|{GRID})"
    points = ",".join(rf"\({number},{number}\)" for number in (first, second))
    return {"type": "regex", "pattern": points}
