"""Every checkpoint of every run on the same photos: the base is loaded once, adapters change."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from eval.config import EvalConfig
from eval.perturb import PERTURBATIONS
from eval.predictions.predictions import Answers, Truth, join, truth_of
from eval.predictions.read import read_lines
from eval.report.results import Report, Result, best, evaluate
from eval.sweep import provenance as notes
from eval.sweep.predict import predict
from eval.sweep.processes import Sharing
from eval.sweep.resume import gaps, stamped
from eval.sweep.targets import BARE, Target, targets
from nutrition_vl.detector import THRESHOLD, Detector


def run(rows: Dataset, config: EvalConfig) -> Report | None:
    """Everything the command was asked for; None where another of several processes reports it.

    Worse photos are shown to the first row, which is the base, and to the best.
    """
    with TemporaryDirectory() as scratch:
        plan = targets(config, Path(scratch))
        sweep = Sweep(rows, config)
        results = sweep.results(plan)
        chosen = [results[0]] if best(results) is results[0] else [results[0], best(results)]
        asked = [row.target for row in chosen if row.target]
        spoilt = [target.perturbed(name) for target in asked for name in config.perturb]
        perturbed = sweep.results(spoilt)
    return Report(results, perturbed, rows) if sweep.sharing.leads else None


class Sweep:
    """The rows of a split and the models that are asked about them, each base loaded once."""

    def __init__(self, rows: Dataset, config: EvalConfig) -> None:
        self.rows, self.config = stamped(rows), config
        self.sharing = Sharing(config.device)
        self._detectors: dict[str, Detector] = {}
        disable_progress_bar()  # of the weights, which would break ours

    def results(self, plan: Sequence[Target]) -> list[Result]:
        """Predicts what is missing, reads all of it back, scores it: in the order of the plan."""
        if not plan:
            return []
        shown = THRESHOLD if self.config.threshold is None else self.config.threshold
        total, quiet = len(plan) * len(self.rows), not self.sharing.leads
        with self.sharing.alone({target.file.parent for target in plan}):
            missing = [self._settle(target) for target in plan]  # all before the first answer
            with tqdm(total=total, unit="photo", disable=quiet) as progress:
                for target, todo in zip(plan, missing, strict=True):
                    progress.set_description(f"{target.name} {target.perturb}".strip())
                    self._fill(target, todo, plan, progress)
            return [evaluate(_answers(target, self.rows), target, shown) for target in plan]

    def _settle(self, target: Target) -> list[int]:
        """Which rows the target has to answer yet; ValueError where it has answered others."""
        note = notes.note(target, self.config)
        self.sharing.settle(target.file, self.rows["id"])
        todo = gaps(self.rows, target.file)
        if self.sharing.leads:
            notes.write(target, note)
        return todo

    def _fill(
        self, target: Target, todo: list[int], plan: Sequence[Target], progress: tqdm
    ) -> None:
        progress.update(len(self.rows) - len(todo))
        if not todo:  # no model is loaded for what is all there
            return
        size, sharing = self.config.batch_size, self.sharing
        own = sharing.share([todo[at : at + size] for at in range(0, len(todo), size)])
        try:
            detector = self._detector(target, plan)
            predict(detector, target, self.rows, own, sharing.part(target.file), progress)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"the GPU's memory is full: use a --batch-size below {size}; what is done stays"
            ) from error
        sharing.settle(target.file, self.rows["id"])
        progress.update(len(todo) - sum(map(len, own)))  # by the others

    def _detector(self, target: Target, plan: Sequence[Target]) -> Detector:
        """The one detector of the target's base, with all adapters of the plan.

        All before the first answer: bitsandbytes (0.50) then packs a CPU's weights for AVX-512, and
        the next adapter would have them unpacked, which rounds them.
        """
        if target.base not in self._detectors:
            detector = Detector.load(target.checkpoint, adapter=BARE, device=self.config.device)
            for other in plan:
                if other.base == target.base:
                    detector.use_adapter(other.adapter)
            self._detectors[target.base] = detector
        return self._detectors[target.base]


def _answers(target: Target, rows: Dataset) -> Answers:
    """From the file alone; it may hold more photos than a --limit asks for."""
    truths = truth_of(rows)
    if target.perturb:
        truths = [_moved(truth, target.perturb) for truth in truths]
    asked = {truth.id for truth in truths}
    found = [entry for entry in read_lines(target.file) if entry.photo in asked]
    return replace(join(target.name, truths, found), differs=target.differs)


def _moved(truth: Truth, name: str) -> Truth:
    perturbation, size = PERTURBATIONS[name], (int(truth.width), int(truth.height))
    width, height = perturbation.size(size)
    return replace(truth, width=width, height=height, xyxy=perturbation.boxes(truth.xyxy, size))
