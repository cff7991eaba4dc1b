"""Predicts and scores every checkpoint of every run on the same photos."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from eval.config import EvalConfig
from eval.perturb import PERTURBATIONS
from eval.predictions.predictions import Answers, Truth, join, truth_of
from eval.predictions.read import read_lines
from eval.report.results import Report, Result, best, evaluate
from eval.sweep.card_check import mismatches
from eval.sweep.predict import predict
from eval.sweep.provenance import provenance, read_differs, write_provenance
from eval.sweep.resume import missing_rows, with_photo_hash
from eval.sweep.targets import Target, targets
from nutrition_vl.detector import Detector
from nutrition_vl.models.names import NONE, THRESHOLD
from nutrition_vl.running.processes import Processes


def run(rows: Dataset, config: EvalConfig) -> Report | None:
    """The report of all models; None in a process of several that does not write it.

    Worse photos are predicted by the first row, which is the base, and by the best.
    """
    plan, sweep = targets(config), Sweep(rows, config)
    results = sweep.results(plan)
    chosen = dict.fromkeys((0, results.index(best(results))))
    worse = [replace(plan[row], perturb=name) for row in chosen for name in config.perturb]
    perturbed = sweep.results(worse) if worse else []
    return Report(results, perturbed, rows) if sweep.processes.is_main else None


class Sweep:
    """The rows of a split and the models that predict them; one base at a time is in memory."""

    def __init__(self, rows: Dataset, config: EvalConfig) -> None:
        self.rows, self.config = with_photo_hash(rows), config
        self.processes = Processes(config.device)
        self._loaded: tuple[str, str] | None = None  # base and quantization of the detector
        self._detector: Detector | None = None
        disable_progress_bar()  # of the weights, which would break ours

    def results(self, plan: Sequence[Target]) -> list[Result]:
        """Predicts the photos that have no line yet and scores all files, in the plan's order.

        ValueError where a setting differs from a checkpoint's card, unless `force` is set.
        """
        differs = [self._differs(target) for target in plan]  # before anything is written
        folders = {target.file.parent for target in plan}
        with self.processes.only_command(folders):
            missing = [missing_rows(self.rows, target.file) for target in plan]
            if self.processes.is_main:
                for target, settings in zip(plan, differs, strict=True):
                    write_provenance(target.file, provenance(target, self.config), settings)
            self.processes.wait()  # no line is written before all processes have counted them
            self._fill(plan, missing)
            self.processes.wait()
        return [self._score(target, some) for target, some in zip(plan, differs, strict=True)]

    def _differs(self, target: Target) -> list[str]:
        """The settings that differ from the card, when predictions were written or will be."""
        differs = read_differs(target.file)
        if target.card and not differs and missing_rows(self.rows, target.file):
            differs = mismatches(target.card, Path(target.adapter), self.config.device)
        if differs and not self.config.force:
            raise ValueError(
                f"{target.adapter} would not run as it was trained ({'; '.join(differs)}):"
                " --force scores it all the same, flagged"
            )
        return differs

    def _fill(self, plan: Sequence[Target], missing: Sequence[Sequence[int]]) -> None:
        """Predicts the missing rows of every target, those of one base after each other."""
        total, quiet = len(plan) * len(self.rows), not self.processes.is_main
        with tqdm(total=total, unit="photo", disable=quiet) as progress:
            progress.update(total - sum(map(len, missing)))
            work = [row for row in zip(plan, missing, strict=True) if row[1]]
            for target, indices in sorted(work, key=lambda row: row[0].model):
                progress.set_description(f"{target.name} {target.perturb}".strip())
                self._predict(target, indices, plan, progress)

    def _predict(
        self, target: Target, indices: Sequence[int], plan: Sequence[Target], progress: tqdm
    ) -> None:
        size = self.config.batch_size
        own = self.processes.share(indices, size)
        try:
            if own:  # of several processes one may have none
                predict(self._load(target, plan), target, self.rows, own, progress)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"the GPU's memory is full: use a --batch-size below {size}; what is done stays"
            ) from error
        progress.update(len(indices) - sum(map(len, own)))  # by the other processes

    def _load(self, target: Target, plan: Sequence[Target]) -> Detector:
        """The detector of the target's base, with all adapters of the plan.

        All before the first photo: bitsandbytes (0.50) then packs a CPU's weights for AVX-512, and
        the next adapter would have them unpacked, which rounds them.
        """
        if self._detector is None or self._loaded != target.model:
            self._detector = None
            gc.collect()  # PEFT's cycles hold the base before
            self._detector = Detector.load(
                target.checkpoint.name,
                adapter=NONE,
                device=self.config.device,
                quantization=target.quantization,
                check_prompt=False,  # `_differs` has compared it
            )
            self._loaded = target.model
            for other in plan:
                if other.model == target.model:
                    self._detector.use_adapter(other.adapter)
        return self._detector

    def _score(self, target: Target, differs: Sequence[str]) -> Result:
        card, threshold = target.card, self.config.threshold
        recipe = (card.recipe, card.dataset, card.max_tokens) if card else None
        answers = replace(_answers(target, self.rows), differs=tuple(differs))
        return replace(
            evaluate(answers, THRESHOLD if threshold is None else threshold),
            run=target.run,
            step=target.step,
            seed=card.seed if card else None,
            perturb=target.perturb,
            recipe=recipe,
        )


def _answers(target: Target, rows: Dataset) -> Answers:
    """From the file alone; it may hold more photos than a --limit leaves."""
    truths = truth_of(rows)
    if target.perturb:
        truths = [_moved(truth, target.perturb) for truth in truths]
    ids = {truth.id for truth in truths}
    entries = [entry for entry in read_lines(target.file) if entry.photo in ids]
    return join(target.name, truths, entries)


def _moved(truth: Truth, name: str) -> Truth:
    """The truth of a photo after one of PERTURBATIONS."""
    perturbation, size = PERTURBATIONS[name], (int(truth.width), int(truth.height))
    width, height = perturbation.size(size)
    return replace(truth, width=width, height=height, xyxy=perturbation.boxes(truth.xyxy, size))
