"""Asks a model about every photo of a split, once: what is written stays, only gaps are filled."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm

from eval.perturb import PERTURBATIONS
from eval.targets import Target
from nutrition_vl.detector import Detector


def gaps(rows: Dataset, file: Path) -> list[int]:
    """The indices of the rows that a predictions file does not answer yet.

    A half-written last line is cut off it. Raises ValueError for any other line that is not ours.
    """
    lines = enumerate(whole_lines(file), 1)
    done = {_id(line, f"{file}, line {number}") for number, line in lines}
    return [index for index, name in enumerate(rows["id"]) if name not in done]


def whole_lines(file: Path) -> list[bytes]:
    """The lines of a file, if there is one, after cutting off a last one that has no end."""
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with file.open("r+b") as stream:
            stream.truncate(len(whole))
    return whole.splitlines()


def predict(
    detector: Detector,
    target: Target,
    rows: Dataset,
    batches: Iterable[Sequence[int]],
    file: Path,
    progress: tqdm,
) -> None:
    """Appends a JSON line for each photo of these batches of rows to the file.

    A line is `Answer.record` with the photo's `id` and how many boxes were `malformed`.
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
    for name, photo, answer in zip(batch["id"], photos, answers, strict=True):
        said = answer.record(photo.size) | {"malformed": answer.malformed}
        yield json.dumps({"id": name} | said) + "\n"


def _id(line: bytes, where: str) -> str:
    try:
        return str(json.loads(line)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is no prediction of ours: remove that line") from error
