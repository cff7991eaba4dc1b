"""A run's surroundings: the base it starts from, the folder it writes to, the card it leaves."""

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig, PeftConfig
from transformers import Qwen2VLProcessor
from transformers.trainer_utils import get_last_checkpoint

from nutrition_vl import prompts
from nutrition_vl.files import git_commit
from nutrition_vl.models.checkpoints import BEST, DEMO, Card, list_checkpoints, read_card
from nutrition_vl.models.load import PixelBudget, budget_of, load_processor
from nutrition_vl.models.random_weights import is_random
from training.run.callbacks import CURVE, METRICS, README, SKIPPED, VALIDATION
from training.settings.config import TrainConfig

# What must not change where a run goes on from a checkpoint; the dataset is compared too.
SAME = ("base_model", "recipe", "max_tokens", "quantization", "seed")
SAME_LORA = ("r", "lora_alpha", "target_modules", "bias")
# What a trainer goes on from; over several cards there may be one file or folder for each.
STATE = ("trainer_state.json", "optimizer*", "scheduler.pt", "rng_state*.pth")
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")


def base_source(name: str) -> str | Path:
    """Where the base of this name, or what is known of a random one, is loaded from."""
    return DEMO if name == "demo" or is_random(name) else name


def base_name(name: str) -> str:
    """What a checkpoint calls its base, wherever the command was run."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def load_fitting_processor(config: TrainConfig) -> Qwen2VLProcessor:
    """The base's processor with the pixel budget that the settings ask for."""
    name = config.model_name_or_path
    processor = load_processor(base_source(name), revision=config.model_revision)
    own = budget_of(processor)
    local = name == "demo" or Path(name).is_dir()
    usual = own.max_tokens if local else PixelBudget().max_tokens
    budget = PixelBudget(own.min_tokens, config.max_image_tokens or usual)
    processor.image_processor.size = budget.size(processor.image_processor)
    return processor


def prepare(config: TrainConfig) -> str | None:
    """Makes the run folder ready and returns the checkpoint to resume from, if it was asked for.

    ValueError where the folder holds something that must not be lost, or nothing to resume from.
    """
    run, asked = Path(str(config.output_dir)), config.resume_from_checkpoint
    if asked and asked.lower() != "false":
        return _whole(_resumed(run) if asked.lower() == "true" else _named(Path(asked), run))
    first = config.process_index == 0  # of several, it looks and clears for all
    if first and config.overwrite:
        _clear(run)
    elif first and run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ValueError(
            f"{run} is not empty: name another --output_dir, go on with "
            "--resume_from_checkpoint True or start anew with --overwrite True"
        )
    run.mkdir(parents=True, exist_ok=True)
    return None


def _resumed(run: Path) -> str:
    last = get_last_checkpoint(str(run)) if run.is_dir() else None
    if last is None:
        raise ValueError(
            f"{run} holds no checkpoint to resume from: start anew with --overwrite True"
        )
    return last


def _named(checkpoint: Path, run: Path) -> str:
    if not checkpoint.is_dir():
        raise ValueError(f"there is no checkpoint {checkpoint} to resume from")
    run.mkdir(parents=True, exist_ok=True)
    return str(checkpoint)


def _whole(checkpoint: str) -> str:
    """The checkpoint; ValueError without what the trainer would otherwise begin anew in silence."""
    for name in STATE:
        if not any(Path(checkpoint).glob(name)):
            raise ValueError(
                f"{checkpoint} lacks {name}, as after --save_only_model True, and cannot go on as "
                "it was: resume from another checkpoint or start anew in another --output_dir"
            )
    return checkpoint


def check_resumed(folder: str | None, card: Card, lora: LoraConfig) -> None:
    """ValueError where a checkpoint to go on from was made with other settings than these."""
    if folder is None:
        return
    old, saved = read_card(Path(folder)), PeftConfig.from_pretrained(folder)
    was = {key: getattr(old, key) for key in SAME} | {"dataset": old.dataset.split()[-1]}
    now = {key: getattr(card, key) for key in SAME} | {"dataset": card.dataset.split()[-1]}
    was |= {key: getattr(saved, key) for key in SAME_LORA}
    now |= {key: getattr(lora, key) for key in SAME_LORA}
    for key, value in was.items():
        if value != now[key]:
            raise ValueError(
                f"{folder} was trained with {key} {value} and cannot go on with {now[key]}: "
                f"repeat its own command ({old.command}) or start anew in another --output_dir"
            )


def _clear(run: Path) -> None:
    """Removes what a run writes and nothing else."""
    for folder in list_checkpoints(run):
        shutil.rmtree(folder)
    for name in (METRICS, CURVE, VALIDATION, SKIPPED, README, BEST):
        (run / name).unlink(missing_ok=True)


def describe(config: TrainConfig, rows: Dataset, processor: Qwen2VLProcessor) -> Card:
    """The card of a run, but for the step."""
    return Card(
        base_model=base_name(config.model_name_or_path),
        recipe=config.recipe,
        step=0,
        prompt=prompts.fingerprint(),
        max_tokens=budget_of(processor).max_tokens,
        base_revision=config.model_revision,
        quantization=config.quantization,
        attention=config.attention,
        dataset=f"{config.data_path} {fingerprint(rows)}",
        seed=config.seed,
        git=git_commit(),
        command=config.command,
        versions={name: version(name) for name in PACKAGES},
    )


def fingerprint(rows: Dataset) -> str:
    """12 hexadecimal digits that change with any id, size, box or label, and with their order."""
    facts = rows.remove_columns("image")
    return hashlib.sha256(json.dumps(facts.to_list()).encode()).hexdigest()[:12]
