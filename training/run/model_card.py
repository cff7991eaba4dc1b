"""The README of a run, a checkpoint, a merged model: what it is, its numbers, how it was made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import ModelCardData
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nutrition_vl.files import read_jsonl, write_atomically
from nutrition_vl.models.checkpoints import BEST, Card, list_checkpoints
from training.run.callbacks import METRICS, README, VALIDATION

HIDDEN = ("command", "versions", "settings", "overridden")
ADAPTER = "A LoRA adapter for `{card.base_model}`"
MERGED = "`{card.base_model}` merged with a LoRA adapter"
TEXT = """---
{data}
---
# {title}

{what} that finds the nutrition tables on photos of food packages,
trained with the recipe {card.recipe} of nutrition-vl.

```bash
python -m nutrition_vl PHOTO --checkpoint {folder}
```

## Numbers

{numbers}

## How it was made

{settings}

```bash
{card.command}
```
"""


class ModelCards(TrainerCallback):
    """Writes the README of the run and of a checkpoint once that is saved and validated."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Writes both, in the first process."""
        if state.is_world_process_zero:
            run, card = Path(str(args.output_dir)), replace(self.card, step=state.global_step)
            for folder in (run, run / f"checkpoint-{state.global_step}"):
                write_model_card(folder, card, run)


def write_model_card(folder: Path, card: Card, run: Path, merged: bool = False) -> None:
    """Writes the README of a run, of a checkpoint of it, or of a model that one is merged into."""
    data = ModelCardData(
        base_model=card.base_model,
        library_name="transformers" if merged else "peft",
        pipeline_tag="image-text-to-text",
        tags=["qwen2_vl", "lora", "object-detection", "nutrition-table"],
    )
    name, whole = run.resolve().name, folder == run
    text = TEXT.format(
        data=data.to_yaml(),
        title=name if whole else f"{name}, step {card.step}",
        card=card,
        what=(MERGED if merged else ADAPTER).format(card=card),
        # A checkpoint may still be under another name while it is saved.
        folder=folder if whole or merged else run / folder.name,
        numbers=_numbers(run, card.step),
        settings=_table([("setting", "value"), *_settings(card)]),
    )
    write_atomically(folder / README, text)


def _numbers(run: Path, last: int) -> str:
    """A line for each checkpoint up to the last: its loss, and its boxes where they were tried.

    The loss is the mean since the checkpoint before. Speed and memory are the log's last.
    """
    metrics = read_jsonl(run / METRICS)
    if not metrics:
        return "The log of this run is not here."
    scores = {row["step"]: row for row in read_jsonl(run / VALIDATION)}
    best = (run / BEST).read_text(encoding="utf-8").strip() if (run / BEST).exists() else None
    saved = sorted({int(path.name.split("-")[1]) for path in list_checkpoints(run)} | {last})
    lines: list[tuple] = [("checkpoint", "loss", "mean IoU", "F1@0.5")]
    for before, step in zip([0, *saved], saved, strict=False):
        losses = [row["loss"] for row in metrics if before < row["step"] <= step]
        loss = f"{np.mean(losses):.3f}" if losses else ""
        score = scores.get(step)
        boxes = (f"{score['mean_iou']:.3f}", f"{score['f1']:.3f}") if score else ("", "")
        name = f"checkpoint-{step}"
        lines.append((f"{name} (best)" if name == best else name, loss, *boxes))
    speed, peak = metrics[-1]["photos_per_second"], metrics[-1]["peak_gib"]
    return f"{_table(lines)}\n\n{speed:.2f} photos a second, {peak:.2f} GiB at the peak"


def _settings(card: Card) -> list[tuple]:
    shown = {key: value for key, value in vars(card).items() if key not in HIDDEN}
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    named = shown | card.settings | {"overridden": "; ".join(card.overridden), "versions": versions}
    return [(key.replace("_", " "), value) for key, value in named.items() if value != ""]


def _table(lines: list[tuple]) -> str:
    first, *rest = (f"| {' | '.join(map(str, line))} |" for line in lines)
    return "\n".join([first, "|" + "---|" * len(lines[0]), *rest])
