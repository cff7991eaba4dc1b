"""Asks a model about every photo of a split, once: what is written stays, only gaps are filled."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm

from eval.perturb import PERTURBATIONS
from eval.sweep.resume import STAMP
from eval.sweep.targets import Target
from nutrition_vl.detector import Detector


def predict(
    detector: Detector,
    target: Target,
    rows: Dataset,
    batches: Iterable[Sequence[int]],
    file: Path,
    progress: tqdm,
) -> None:
    """Appends a JSON line for each photo of these batches of stamped rows to the file.

    A line is `Answer.record` with the photo's `id` and stamp and how many boxes were `malformed`.
    """
    with file.open("a", encoding="utf-8") as out:
        for batch in batches:
            out.writelines(_lines(detector, target, rows.select(batch)))
            out.flush()
            progress.update(len(batch))


def _lines(detector: Detector, target: Target, batch: Dataset) -> Iterator[str]:
    photos = batch["image"][:]
    if target.perturb:
        photos = [PERTURBATIONS[target.perturb].spoil(photo) for photo in photos]
    answers = detector.detect(photos, adapter=target.adapter)
    asked = zip(batch["id"], batch[STAMP], photos, answers, strict=True)
    for name, stamp, photo, answer in asked:
        said = answer.record(photo.size) | {"malformed": answer.malformed}
        yield json.dumps({"id": name, STAMP: stamp} | said) + "\n"
