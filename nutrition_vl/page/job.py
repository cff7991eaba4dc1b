"""A job of many photos: where they come from, their answers, what is unusual about each."""

import shutil
import tempfile
import time
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nutrition_vl.data.photos import find_photos, open_photo
from nutrition_vl.matching import same_boxes
from nutrition_vl.page.guard import own_upload, uploads
from nutrition_vl.page.photo import above
from nutrition_vl.page.queue import DetectionQueue

MOST_UNPACKED = 4 * 2**30  # bytes out of one zip
THUMBNAIL = 360  # pixels
DOUBT = 0.7  # a box below it is worth a look
FILTERS = ["all", "no table", "several tables", "low confidence", "adapters disagree", "errors"]
Record = dict[str, Any]


class Waiting(NamedTuple):
    """A photo in the detection queue."""

    name: str
    adapter: str
    size: tuple[int, int]
    answer: Future


@dataclass
class Job:
    """Photos by name with, as they come in, their answers by adapter at threshold 0."""

    photos: dict[str, Path] = field(default_factory=dict)
    adapters: list[str] = field(default_factory=list)
    answers: dict[str, dict[str, Record]] = field(default_factory=dict)
    folder: Path = Path()
    sources: tuple[Any, ...] = ()  # the files, the folder and the adapters it was made from

    def left(self) -> list[str]:
        """The photos that lack an answer of some adapter."""
        wanted = set(self.adapters)
        return [name for name in self.photos if self.answers.get(name, {}).keys() < wanted]

    def thumbnail(self, name: str) -> Path:
        """The file of a photo's small picture, there once it is answered."""
        return self.folder / f"{list(self.photos).index(name)}.jpg"

    def records(self, threshold: float, adapter: str | None = None) -> list[Record]:
        """The answers of one adapter (the first) in order, as the command prints them."""
        chosen = adapter or (self.adapters[0] if self.adapters else "")
        return [
            {"photo": name} | shown(self.answers[name][chosen], threshold)
            for name in self.photos
            if chosen in self.answers.get(name, {})
        ]

    def chosen(self, kind: str, threshold: float) -> list[str]:
        """The answered photos that one of FILTERS lets through."""
        return [name for name in self.photos if self._passes(name, kind, threshold)]

    def _passes(self, name: str, kind: str, threshold: float) -> bool:
        answers = [shown(record, threshold) for record in self.answers.get(name, {}).values()]
        return bool(answers) and (kind == "all" or kind in kinds(answers))

    def run(self, queue: DetectionQueue) -> Iterator[int]:
        """Yields the number of answered photos while they come in; leaving it cancels the rest."""
        todo = deque((name, adapter) for name in self.left() for adapter in self.adapters)
        running: deque[Waiting] = deque()
        try:
            while todo or running:
                while todo and len(running) < 2 * queue.batch_size:
                    self._submit(*todo.popleft(), queue, running)
                while running and running[0].answer.done():
                    self._keep(running.popleft())
                yield len(self.photos) - len(self.left())
                if running and not running[0].answer.done():
                    time.sleep(0.05)
        finally:
            for waiting in running:
                waiting.answer.cancel()

    def _submit(self, name: str, adapter: str, queue: DetectionQueue, running: deque) -> None:
        if adapter in self.answers.setdefault(name, {}):
            return
        try:
            photo = open_photo(self.photos[name], name)
        except (OSError, ValueError) as error:
            self.answers[name][adapter] = {"error": str(error)}
            return
        small = photo.copy()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(self.thumbnail(name), quality=85)
        answer = queue.submit(photo, adapter, background=True)
        running.append(Waiting(name, adapter, photo.size, answer))

    def _keep(self, waiting: Waiting) -> None:
        try:
            record = waiting.answer.result().record(waiting.size)
        except (OSError, ValueError, RuntimeError) as error:
            record = {"error": str(error)}
        self.answers[waiting.name][waiting.adapter] = record


def shown(record: Record, threshold: float) -> Record:
    """The record above a threshold; an error stays as it is."""
    return record if "error" in record else above(record, threshold)


def kinds(answers: Sequence[Record]) -> set[str]:
    """The FILTERS that one photo's answers belong to."""
    if any("error" in answer for answer in answers):
        return {"errors"}
    boxes = answers[0]["boxes"]
    found = {"no table"} if not boxes else {"several tables"} if len(boxes) > 1 else set()
    if any(box["confidence"] < DOUBT for box in boxes):
        found.add("low confidence")
    if not all(agree(boxes, other["boxes"]) for other in answers[1:]):
        found.add("adapters disagree")
    return found


def agree(one: Sequence[Record], other: Sequence[Record]) -> bool:
    """True where two answers have the same tables."""
    first, second = (
        np.array([box["xyxy"] for box in boxes], float).reshape(-1, 4) for boxes in (one, other)
    )
    return same_boxes(first, second)


def doubt(answers: Sequence[Record]) -> float:
    """How much a label of this photo would teach: 1 for a disagreement, else 1 - confidence."""
    answered = [answer for answer in answers if "error" not in answer]
    if not all(agree(answered[0]["boxes"], other["boxes"]) for other in answered[1:]):
        return 1.0
    scores = [box["confidence"] for answer in answered for box in answer["boxes"]]
    return 1 - min(scores) if scores else 0.3


def new_job(files: Sequence[str], folder: Path | None, adapters: list[str]) -> Job:
    """A job over uploaded photos and zips, or over a folder of this machine."""
    uploads().mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="job-", dir=uploads()))
    inner = find_photos([folder]) if folder else []
    named = [(path.relative_to(folder).as_posix(), path) for path in inner if folder]
    for file in files:
        path = own_upload(file)
        named += unpacked(path, place) if path.suffix.lower() == ".zip" else [(path.name, path)]
    if not named:
        raise ValueError("there is no photo to look at: add photos, a zip or choose a folder")
    return Job(distinct(named), adapters, {}, place)


def unpacked(archive: Path, place: Path) -> list[tuple[str, Path]]:
    """The photos of a zip, extracted; ValueError for a broken, locked or exploding one."""
    target = Path(tempfile.mkdtemp(dir=place))
    try:
        with zipfile.ZipFile(archive) as pack:
            size = sum(member.file_size for member in pack.infolist())
            if size > min(MOST_UNPACKED, shutil.disk_usage(place).free // 2):
                raise ValueError(f"{archive.name} unpacks to {size / 1e9:.1f} GB: split it")
            pack.extractall(target)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{archive.name} cannot be unpacked: {error}") from error
    photos = [path for path in find_photos([target]) if path.is_file() and not path.is_symlink()]
    return [(path.relative_to(target).as_posix(), path) for path in photos]


def distinct(named: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """The photos by name; the second photo of a name gets a number."""
    photos: dict[str, Path] = {}
    for name, path in named:
        stem, number, unique = Path(name), 1, name
        while unique in photos:
            number += 1
            unique = stem.with_name(f"{stem.stem}-{number}{stem.suffix}").as_posix()
        photos[unique] = path
    return photos


def inside(root: Path, name: str) -> Path:
    """The folder `name` below `root`; ValueError for one that lies elsewhere."""
    folder = (root / name).resolve()
    if not folder.is_relative_to(root.resolve()) or not folder.is_dir():
        raise ValueError(f"there is no folder {name} below {root}")
    return folder
