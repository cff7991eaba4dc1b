"""A run's folder, its base and processor, and its card."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset
from transformers.trainer_utils import get_last_checkpoint

from nutrition_vl import prompts
from nutrition_vl.files import LOCK, git_commit, one_writer
from nutrition_vl.models.checkpoints import BEST, DEMO, Card, list_checkpoints
from nutrition_vl.models.family import Processor, family_of
from nutrition_vl.models.load import PixelBudget, budget_of, load_processor
from nutrition_vl.models.random_weights import is_random
from training.run.callbacks import CURVE, METRICS, README, VALIDATION
from training.run.same_run import settings_of
from training.settings.config import TrainConfig

# What a trainer resumes from; several GPUs may have one file or folder each.
STATE = ("trainer_state.json", "optimizer*", "scheduler.pt", "rng_state*.pth")
PARTIAL = ".saving"  # holds a checkpoint until it is whole
HUB_TOKENS = 16384  # per photo, of the processors on the hub: they never limit a photo
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")


def base_source(name: str) -> str | Path:
    """The folder or hub id to load a base from; for a random one, of its processor."""
    return DEMO if name == "demo" or is_random(name) else name


def base_name(name: str) -> str:
    """The base's name on a card: its hub id where there is one, a full path for other folders."""
    if not Path(name).is_dir():
        return name
    path = Path(name).resolve()
    downloaded = re.search(
        r"/models--([\w.-]+?)--([\w.-]+)/snapshots/[0-9a-f]{40}$", path.as_posix()
    )
    return "/".join(downloaded.groups()) if downloaded else str(path)


def load_fitting_processor(config: TrainConfig) -> Processor:
    """The base's processor with the settings' pixel budget; ValueError for an unknown family."""
    name = config.model_name_or_path
    if base_name(name).count("/") == 1:
        config.report(f"looking for {name} on the Hugging Face hub, for up to a minute")
    processor = load_processor(base_source(name), revision=config.model_revision)
    family_of(base_source(name), config.model_revision)
    own = budget_of(processor)
    usual = own.max_tokens if own.max_tokens < HUB_TOKENS else PixelBudget().max_tokens
    budget = PixelBudget(own.min_tokens, config.max_image_tokens or usual)
    processor.image_processor.size = budget.size(processor.image_processor)
    return processor


@contextmanager
def prepare(config: TrainConfig) -> Iterator[str | None]:
    """Locks the run folder and makes it ready; the checkpoint to resume from, if the user asks.

    ValueError where another command writes to the folder, where it holds something that must not
    be lost, or nothing to resume from.
    """
    run = Path(str(config.output_dir))
    taken = next((place for place in (run, *run.parents) if place.exists()), run)
    if taken.exists() and not taken.is_dir():
        raise ValueError(f"--output_dir {run}: {taken} is a file, name a folder")
    checkpoint = _checkpoint(run, config.resume_from_checkpoint)
    first = config.process_index == 0  # of several, it locks for all
    with one_writer(run, "name another --output_dir") if first else nullcontext():
        run.mkdir(parents=True, exist_ok=True)
        if first:  # a process that was killed while it saved
            shutil.rmtree(run / PARTIAL, ignore_errors=True)
        if checkpoint:
            yield _whole(checkpoint)
            return
        others = any(path.name != LOCK for path in run.iterdir())
        if first and others and not config.overwrite:
            raise ValueError(
                f"{run} is not empty: name another --output_dir, go on with "
                "--resume_from_checkpoint True or start again with --overwrite True"
            )
        yield None


def _checkpoint(run: Path, resume: str | None) -> str | None:
    """The checkpoint that --resume_from_checkpoint names, the last for True; None for False."""
    if not resume or resume.lower() == "false":
        return None
    last = resume.lower() == "true"
    checkpoint = get_last_checkpoint(str(run)) if last and run.is_dir() else None
    if last and checkpoint is None:
        raise ValueError(
            f"{run} holds no checkpoint to resume from: start again with --overwrite True"
        )
    if not last and not Path(resume).is_dir():
        raise ValueError(f"there is no checkpoint {resume} to resume from")
    return checkpoint or resume


def _whole(checkpoint: str) -> str:
    """The checkpoint; ValueError if it lacks state that the trainer would replace in silence."""
    for name in STATE:
        if not any(Path(checkpoint).glob(name)):
            raise ValueError(
                f"{checkpoint} lacks {name}, as after --save_only_model True, and cannot go on as "
                "it was: resume from another checkpoint or start again in another --output_dir"
            )
    return checkpoint


def clear_overwritten(config: TrainConfig, checkpoint: str | None) -> None:
    """Removes the files of a run that --overwrite replaces, and nothing else."""
    run = Path(str(config.output_dir))
    if checkpoint is not None or not config.overwrite or config.process_index > 0:
        return
    for folder in list_checkpoints(run):
        shutil.rmtree(folder)
    for name in (METRICS, CURVE, VALIDATION, README, BEST):
        (run / name).unlink(missing_ok=True)


def describe(config: TrainConfig, processor: Processor) -> Card:
    """The card of a run, but for the step and the data set."""
    return Card(
        base_model=base_name(config.model_name_or_path),
        recipe=config.recipe,
        step=0,
        prompt=prompts.fingerprint(),
        max_tokens=budget_of(processor).max_tokens,
        base_revision=config.model_revision,
        quantization=config.quantization,
        attention=config.attention,
        seed=config.seed,
        git=git_commit(),
        command=config.command,
        versions={name: version(name) for name in PACKAGES},
        settings=settings_of(config),
    )


def fingerprint(rows: Dataset) -> str:
    """12 hexadecimal digits of all ids, sizes, boxes, labels and photos in their order."""
    facts = rows.remove_columns("image")
    return hashlib.sha256(json.dumps(facts.to_list()).encode()).hexdigest()[:12]
