"""The words we say to the model; the box it shows is `boxes.EXAMPLE`, exactly as trained on."""

import hashlib
from typing import Any

from nutrition_vl.boxes import EXAMPLE, GRID

SYSTEM = "You find nutrition tables on photos of food packages."
USER = (
    f"Box every nutrition table, x and y from 0 to {GRID}, like this: {EXAMPLE} "
    "Answer with nothing when there is none."
)


def ask() -> list[dict[str, Any]]:
    """The system turn and the user turn, with a placeholder for one photo."""
    question = [{"type": "image"}, {"type": "text", "text": USER}]
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": question},
    ]


def answer(text: str) -> list[dict[str, Any]]:
    """The assistant turn that says `text`."""
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


def fingerprint() -> str:
    """12 hexadecimal digits that change with any word of the prompt or with the grid."""
    words = "\n".join([SYSTEM, USER, EXAMPLE, str(GRID)])
    return hashlib.sha256(words.encode()).hexdigest()[:12]
