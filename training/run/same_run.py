"""A resumed run is the same run: its settings and data are those on the checkpoint's card."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nutrition_vl.models.checkpoints import Card, read_card
from training.settings.config import TrainConfig
from training.settings.recipes import CHANGE_THE_BASE

# Facts on the card, and settings, that change what is learned. All others may differ, such as
# where files lie, how often it is saved and logged, and which engines save time and memory.
FACTS = ("base_model", "base_revision", "recipe", "max_tokens", "quantization", "seed")
SETTINGS = (
    "attention lora_dropout lora_bias num_train_epochs max_steps learning_rate lr_scheduler_type "
    "lr_scheduler_kwargs warmup_steps weight_decay adam_beta1 adam_beta2 adam_epsilon "
    "max_grad_norm optim optim_args data_seed train_sampling_strategy use_rslora use_dora "
    "init_lora_weights loraplus_lr_ratio vision_learning_rate merger_learning_rate"
).split()
# What a saved adapter and its optimizer are made for.
FIXED = set(
    "base_model lora_r lora_target_modules lora_bias optim use_dora init_lora_weights "
    "loraplus_lr_ratio vision_learning_rate merger_learning_rate".split()
)


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """The settings that a resumed run must share, as JSON."""
    recipe = config.lora
    photos = config.per_device_train_batch_size * config.gradient_accumulation_steps
    settings = {name: getattr(config, name) for name in SETTINGS} | {
        "lora_r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_target_modules": recipe.targets,
        "photos_per_step": photos * config.world_size,
    }
    return json.loads(json.dumps(settings))


def check_resumed(checkpoint: str | None, card: Card, config: TrainConfig) -> Card:
    """The card of a run that goes on from a checkpoint, with the changes of --override.

    ValueError lists the differences from the checkpoint's card; a card without a data set differs
    in its settings alone.
    """
    if checkpoint is None:
        return card
    if config.init_lora_weights in CHANGE_THE_BASE:
        raise ValueError(
            f"--init_lora_weights {config.init_lora_weights} is saved as plain LoRA of twice the "
            "rank, which cannot go on as it was: start again in another --output_dir"
        )
    saved = read_card(Path(checkpoint))
    old, new = _compared(saved), _compared(card)
    differences = [key for key in new if key in old and old[key] != new[key]]  # old cards lack some
    if not differences:
        return replace(card, overridden=saved.overridden)
    if config.override and not FIXED.intersection(differences):
        changes = [f"step {saved.step}: {key} {old[key]} -> {new[key]}" for key in differences]
        if card.dataset:
            config.report("overridden: " + ", ".join(changes))
        return replace(card, overridden=[*saved.overridden, *changes])
    remedy = "" if FIXED.intersection(differences) else "take the changes with --override True, "
    texts = [f"with {key} {old[key]} and cannot go on with {new[key]}" for key in differences]
    raise ValueError(
        f"{checkpoint} was trained {', '.join(texts)}: repeat its own command ({saved.command}), "
        f"{remedy}or start again in another --output_dir"
    )


def finished(checkpoint: str | None, config: TrainConfig) -> bool:
    """True for the last checkpoint of a run; the trainer would train one step too many on it."""
    if checkpoint is None or config.override:
        return False
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    return state["global_step"] >= state["max_steps"]


def _compared(card: Card) -> dict[str, Any]:
    facts = {key: getattr(card, key) for key in FACTS}
    data = {"dataset": card.dataset.split()[-1]} if card.dataset else {}
    return facts | data | card.settings
