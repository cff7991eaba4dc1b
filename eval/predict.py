"""Asks a model about every photo of a split, once: what is written stays, only gaps are filled."""

import json
from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm

from nutrition_vl.detector import Detector


def gaps(rows: Dataset, file: Path) -> list[int]:
    """The indices of the rows that a predictions file does not answer yet.

    A half-written last line is cut off it. Raises ValueError for any other line that is not ours.
    """
    done = _finished(file)
    return [index for index, name in enumerate(rows["id"]) if name not in done]


def predict(
    detector: Detector, adapter: str, rows: Dataset, file: Path, batch_size: int, progress: tqdm
) -> None:
    """Appends a JSON line for each photo to the file, batch by batch.

    A line is `Answer.record` with the photo's `id` and how many boxes were `malformed`.
    """
    with file.open("a", encoding="utf-8") as out:
        for start in range(0, len(rows), batch_size):
            batch = rows.select(range(start, min(start + batch_size, len(rows))))
            out.writelines(_lines(detector, adapter, batch))
            out.flush()
            progress.update(len(batch))


def _finished(file: Path) -> set[str]:
    if not file.exists():
        return set()
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with file.open("r+b") as stream:
            stream.truncate(len(whole))
    return {_id(line, f"{file}, line {n}") for n, line in enumerate(whole.splitlines(), 1)}


def _lines(detector: Detector, adapter: str, batch: Dataset) -> Iterator[str]:
    photos = batch["image"][:]
    answers = detector.detect(photos, adapter=adapter)
    for name, photo, answer in zip(batch["id"], photos, answers, strict=True):
        said = answer.record(photo.size) | {"malformed": answer.malformed}
        yield json.dumps({"id": name} | said) + "\n"


def _id(line: bytes, where: str) -> str:
    try:
        return str(json.loads(line)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is no prediction of ours: remove that line") from error
