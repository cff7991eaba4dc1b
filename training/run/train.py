"""Trains adapters: rows, model, trainer, train. Engines join by one call and one callback.

`--plain True` leaves them out: then this is TRL's SFTTrainer on PEFT's LoRA and nothing else.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from datasets import Dataset

from nutrition_vl.data import load_split
from nutrition_vl.data.rows import Skipped
from training.examples.examples import Collator, to_examples
from training.plan.apply import ApplyPlan
from training.plan.usage import peak_text
from training.run import folder
from training.run.callbacks import MetricsLog, StopOnSigterm, progress_bar
from training.run.model import adapters, load, model_shapes
from training.run.model_card import ModelCards
from training.run.preflight import Preflight
from training.run.same_run import check_resumed, finished
from training.run.trainer import Trainer
from training.run.validation import validation
from training.settings.config import TrainConfig


def train(config: TrainConfig) -> Path:
    """Checks everything, trains, returns the run folder. ValueError, OSError: a user's mistake."""
    config.report(config.fallback)
    with folder.prepare(config) as checkpoint:
        _train(config, checkpoint)
    return Path(str(config.output_dir))


def _train(config: TrainConfig, checkpoint: str | None) -> None:
    # 1) rows, and all that can be checked before the base is loaded
    processor, shapes = folder.load_fitting_processor(config), model_shapes(config)
    card = folder.describe(config, processor)
    check_resumed(checkpoint, card, config)  # before the preflight opens every photo
    skipped: list[Skipped] = []
    where, corrected = config.data_path, config.corrected
    rows = load_split(where, "train", config.limit, skipped, corrected, config.label)
    checks = Preflight(config, rows, processor, shapes, skipped)
    rows, plan = checks.run(), checks.plan
    card = replace(card, dataset=f"{where} {folder.fingerprint(rows)}")
    card = check_resumed(checkpoint, card, config)
    sigterm, scores = StopOnSigterm(), validation(config, rows, processor)
    callbacks = [MetricsLog(config, plan.memory), sigterm, *scores, ModelCards(card)]
    if config.preflight_only:
        return
    if finished(checkpoint, config):
        config.report(f"trained already: {checkpoint} is the last of its run")
        return
    folder.clear_overwritten(config, checkpoint)  # only now: a mistake must not cost the old run
    # 2) model
    model = load(config, shapes.config)
    # 3) trainer
    examples: Dataset = to_examples(rows, processor)
    collator: Callable = Collator(processor, completion_only_loss=config.lora.answer_only)
    if not config.plain:
        engines = ApplyPlan(plan, model, restore_on_save=bool(config.validation_photos))
        data = (config, rows, processor, shapes, checks.resized)
        examples, collator = engines.dataset_and_collator(*data)
        callbacks.insert(0, engines)
    trainer = Trainer(
        model,
        plan.arguments(config),
        collator,
        examples,
        processing_class=processor,
        peft_config=adapters(config),
        callbacks=callbacks,
        card=card,
        lengths=checks.lengths,
    )
    # 4) train
    with progress_bar(trainer):
        trainer.train(resume_from_checkpoint=checkpoint)
    peak = peak_text(plan.memory, config.runtime.device)
    done = "trained, nothing saved" if config.save_strategy == "no" else "trained"
    config.report(sigterm.report(trainer.state) or f"{done}: {config.output_dir}, {peak}")
