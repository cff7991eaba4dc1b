"""Compares the settings here with a checkpoint's card: other settings give other numbers."""

from pathlib import Path

from nutrition_vl import prompts
from nutrition_vl.models.checkpoints import Card


def mismatches(card: Card, folder: Path, device: str) -> list[str]:
    """One phrase per setting that differs from the card: prompt, token budget, attention."""
    # Not above: with them comes PyTorch, which a run without checkpoints need not wait for.
    from nutrition_vl.models.load import budget_of, load_processor
    from nutrition_vl.models.runtime import detect_runtime

    settings = {
        "prompt": (card.prompt, prompts.fingerprint()),
        "token budget": (card.max_tokens, budget_of(load_processor(folder)).max_tokens),
        "attention": (card.attention, detect_runtime(device).attention),
    }
    return [
        f"{name} {trained} on the card, {now} here"
        for name, (trained, now) in settings.items()
        if trained != now
    ]
