"""The README of a run, a checkpoint, a merged model: numbers, settings, use without this code."""

import json
import os
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from huggingface_hub import ModelCardData
from transformers import TrainerCallback, TrainerState

from nutrition_vl import prompts
from nutrition_vl.boxes import GRID
from nutrition_vl.files import markdown_table, read_jsonl, write_atomically
from nutrition_vl.models.checkpoints import DEMO, Card, best_checkpoint, list_checkpoints
from nutrition_vl.models.family import QWEN2_VL
from training.run.callbacks import METRICS, README, VALIDATION

TEMPLATE = Path(__file__).with_suffix(".md")
HIDDEN = ("command", "versions", "settings", "overridden")  # shown in another form
ADAPTER = """from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor
"""
MERGED = "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
APACHE = ("demo", "Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-7B-Instruct")  # bases of that licence


class ModelCards(TrainerCallback):
    """Writes the README of the run and of a checkpoint once that is saved and validated."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def on_save(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Writes both, in the first process."""
        if state.is_world_process_zero:
            run, card = Path(str(args.output_dir)), replace(self.card, step=state.global_step)
            for folder in (run, run / f"checkpoint-{state.global_step}"):
                write_model_card(folder, card, run)


def write_model_card(folder: Path, card: Card, run: Path, merged: bool = False) -> None:
    """Writes the README of a run, of a checkpoint of it, or of a model that one is merged into."""
    licence = "apache-2.0" if card.base_model in APACHE else None
    data = ModelCardData(
        base_model=card.base_model,
        library_name="transformers" if merged else "peft",
        license=licence,
        pipeline_tag="image-text-to-text",
        tags=[QWEN2_VL.config.model_type, "lora", "object-detection", "nutrition-table"],
    )
    name, whole, base = run.resolve().name, folder == run, f"`{card.base_model}`"
    # A checkpoint may still be under another name while it is saved.
    place = folder if whole or merged else run / folder.name
    step = run / f"checkpoint-{card.step}" if whole and not merged else place
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    text = template.substitute(
        data=data.to_yaml(),
        title=name if whole else f"{name}, step {card.step}",
        what=f"{base} merged with a LoRA adapter" if merged else f"A LoRA adapter for {base}",
        recipe=card.recipe,
        folder=place,
        snippet_folder=step,
        numbers=_numbers(run, card.step),
        grid=GRID,
        imports=MERGED if merged else ADAPTER,
        load=_loading(card, step, merged),
        messages=json.dumps(prompts.ask(), indent=4),
        settings=markdown_table(("setting", "value"), _settings(card)),
        command=card.command,
        licence=f"{licence or 'that of the base'}; the labelled photos may have their own",
    )
    write_atomically(folder / README, text)


def _loading(card: Card, folder: Path, merged: bool) -> str:
    """The lines of Python that load the model."""
    if merged:
        return f'model = AutoModelForImageTextToText.from_pretrained("{folder}")'
    base = os.path.relpath(DEMO) if card.base_model == "demo" else card.base_model
    return (
        f'base = AutoModelForImageTextToText.from_pretrained("{base}")\n'
        f'model = PeftModel.from_pretrained(base, "{folder}")'
    )


def _numbers(run: Path, last: int) -> str:
    """One line per checkpoint up to the last: its loss, and its scores if it was validated.

    The loss is the mean since the previous checkpoint. Speed and memory are the log's last.
    """
    metrics = read_jsonl(run / METRICS)
    if not metrics:
        return "The log of this run is not here."
    scores = {row["step"]: row for row in read_jsonl(run / VALIDATION)}
    best = best_checkpoint(run)
    saved = sorted({int(path.name.split("-")[1]) for path in list_checkpoints(run)} | {last})
    lines: list[tuple[str, ...]] = []
    for before, step in zip([0, *saved], saved, strict=False):
        losses = [row["loss"] for row in metrics if before < row["step"] <= step]
        loss = f"{np.mean(losses):.3f}" if losses else ""
        score = scores.get(step)
        boxes = (f"{score['mean_iou']:.3f}", f"{score['f1']:.3f}") if score else ("", "")
        name = f"checkpoint-{step}"
        lines.append((f"{name} (best)" if name == best else name, loss, *boxes))
    table = markdown_table(("checkpoint", "loss", "mean IoU", "F1@0.5"), lines)
    speed, peak = metrics[-1]["photos_per_second"], metrics[-1]["peak_gib"]
    return f"{table}\n\n{speed:.2f} photos per second, {peak:.2f} GiB at the peak"


def _settings(card: Card) -> list[tuple[str, str]]:
    facts = {key: value for key, value in vars(card).items() if key not in HIDDEN}
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    rows = facts | card.settings | {"overridden": "; ".join(card.overridden), "versions": versions}
    rows = {key.replace("_", " "): str(value) for key, value in rows.items()}
    return [(key, value) for key, value in rows.items() if value not in ("", "None")]
