"""Whether a checkpoint is asked as its card says: numbers from another prompt, token budget,
quantisation or attention tell of these, and not of the training."""

import json
from dataclasses import replace
from pathlib import Path

from nutrition_vl import prompts
from nutrition_vl.models.checkpoints import CARD, Card, read_card

ANYWAY = "--force scores it all the same, flagged"


def admit(
    folder: Path, device: str, force: bool, scratch: Path
) -> tuple[Path, Card, tuple[str, ...]]:
    """The checkpoint to ask, its card, and in words how asking it differs from the card.

    Raises ValueError where something differs, unless it is to be done by `force`. A checkpoint
    trained with other words is then asked through a copy in `scratch`, whose card has ours.
    """
    card, asked = _card(folder, force, scratch)
    differs = tuple(
        f"{what} {made} on the card, {now} here"
        for what, (made, now) in _compared(card, asked, device).items()
        if made != now
    )
    if differs and not force:
        raise ValueError(
            f"{folder} would not be asked as it was trained ({'; '.join(differs)}): {ANYWAY}"
        )
    return asked, card, differs


def _compared(card: Card, asked: Path, device: str) -> dict[str, tuple[object, object]]:
    """What is on the card and what holds here."""
    # Not above: with them comes PyTorch, which a run without checkpoints need not wait for.
    from nutrition_vl.models.load import budget_of, load_processor
    from nutrition_vl.models.quantization import QUANTIZATIONS
    from nutrition_vl.models.runtime import detect_runtime

    return {
        "prompt": (card.prompt, prompts.fingerprint()),
        "token budget": (card.max_tokens, budget_of(load_processor(asked)).max_tokens),
        "quantization": (card.quantization, QUANTIZATIONS[0]),  # what Detector.load asks for
        "attention": (card.attention, detect_runtime(device).attention),
    }


def _card(folder: Path, force: bool, scratch: Path) -> tuple[Card, Path]:
    """The card as it is, and the folder that can be asked with the words of today."""
    try:
        return read_card(folder), folder
    except ValueError as error:
        words = _prompt_on(folder / CARD)
        if words in (None, prompts.fingerprint()):
            raise
        if not force:
            raise ValueError(f"{error}; {ANYWAY}") from error
    copy = scratch / folder.resolve().parent.name / folder.name
    copy.mkdir(parents=True)
    for file in folder.iterdir():
        if file.name != CARD:
            (copy / file.name).symlink_to(file.resolve())
    card = _reworded(folder / CARD, copy)
    return replace(card, prompt=words), copy


def _reworded(file: Path, copy: Path) -> Card:
    """Puts a card with the prompt of today into the copy."""
    entries = json.loads(file.read_text(encoding="utf-8")) | {"prompt": prompts.fingerprint()}
    (copy / CARD).write_text(json.dumps(entries), encoding="utf-8")
    return read_card(copy)


def _prompt_on(file: Path) -> str | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found.get("prompt") if isinstance(found, dict) else None
