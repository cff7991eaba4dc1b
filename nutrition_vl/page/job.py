"""A job of many photos: its sources, the answers, the unusual photos."""

import hashlib
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from nutrition_vl.data.photos import PhotoFile, find_photos
from nutrition_vl.matching import same_boxes
from nutrition_vl.page.drawing import with_boxes
from nutrition_vl.page.guard import own_upload, sentence, uploads
from nutrition_vl.page.queue import DetectionQueue
from nutrition_vl.page.visitor import above

MOST_UNPACKED = 4 * 2**30  # bytes out of one zip
MOST_FILES = 20_000  # of one zip
THUMBNAIL = 360  # pixels
LOW_CONFIDENCE = 0.7  # a person should check a box below it
FILTERS = ["all", "no table", "several tables", "low confidence", "adapters disagree", "errors"]
Record = dict[str, Any]


class Waiting(NamedTuple):
    """A photo in the detection queue."""

    name: str
    adapter: str
    photo: PhotoFile
    answer: Future


@dataclass
class Job:
    """Photos by name with, as they come in, their answers by adapter at threshold 0."""

    photos: dict[str, Path] = field(default_factory=dict)
    adapters: list[str] = field(default_factory=list)
    answers: dict[str, dict[str, Record]] = field(default_factory=dict)
    folder: Path = Path()
    sources: tuple[Any, ...] = ()  # the files, the folder and the adapters it was made from
    done: int = 0  # photos that every adapter has answered

    def left(self) -> list[str]:
        """The photos that lack an answer of some adapter."""
        wanted = set(self.adapters)
        return [name for name in self.photos if self.answers.get(name, {}).keys() < wanted]

    def thumbnail(self, name: str) -> Path:
        """The file of a photo's small picture, there once it is answered."""
        return self.folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:20]}.jpg"

    def picture(self, name: str, record: Record, threshold: float) -> Path:
        """The file of the small picture with the boxes of an answer, drawn once per threshold."""
        small = self.thumbnail(name)
        file = small.with_name(f"{small.stem}-{threshold}.jpg")
        if not file.exists():
            with Image.open(small) as picture:
                with_boxes(picture, record).save(file, quality=85)
        return file

    def blank(self) -> str:
        """The file of the picture in place of a photo that cannot be read."""
        file = self.folder / "blank.jpg"
        if not file.exists():
            Image.new("RGB", (240, 240), "#b3123a").save(file)
        return str(file)

    def discard(self) -> None:
        """Removes the job's own files: small pictures and unpacked photos."""
        if self.photos:
            shutil.rmtree(self.folder, ignore_errors=True)

    def records(self, threshold: float, adapter: str | None = None) -> list[Record]:
        """The answers of one adapter (the first) in order, as the command prints them."""
        chosen = adapter or (self.adapters[0] if self.adapters else "")
        return [
            {"photo": name} | above(self.answers[name][chosen], threshold)
            for name in self.photos
            if chosen in self.answers.get(name, {})
        ]

    def chosen(self, kind: str, threshold: float) -> Iterator[str]:
        """The answered photos that one of FILTERS lets through."""
        return (name for name in self.photos if self._passes(name, kind, threshold))

    def _passes(self, name: str, kind: str, threshold: float) -> bool:
        records = self.answers.get(name, {}).values()
        if kind == "all" or not records:
            return bool(records)
        return kind in kinds([above(record, threshold) for record in records])

    def run(self, queue: DetectionQueue) -> Generator[int]:
        """Yields the number of answered photos as they come in; leaving it cancels the rest."""
        todo = deque((name, adapter) for name in self.left() for adapter in self.adapters)
        running: deque[Waiting] = deque()
        try:
            while todo or running:
                while todo and len(running) < 2 * queue.batch_size:
                    self._submit(*todo.popleft(), queue, running)
                while running and running[0].answer.done():
                    self._keep(running.popleft())
                yield self.done
                if running and not running[0].answer.done():
                    time.sleep(0.05)
        finally:
            for waiting in running:
                waiting.answer.cancel()

    def _submit(self, name: str, adapter: str, queue: DetectionQueue, running: deque) -> None:
        if adapter in self.answers.setdefault(name, {}):
            return
        photo = PhotoFile(self.photos[name], name)
        try:
            small = photo.open((THUMBNAIL, THUMBNAIL))
        except (OSError, ValueError) as error:
            self._store(name, adapter, {"error": sentence(error)})
            return
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(self.thumbnail(name), quality=85)
        answer = queue.submit(photo, adapter, background=True)
        running.append(Waiting(name, adapter, photo, answer))

    def _keep(self, waiting: Waiting) -> None:
        try:
            record = waiting.answer.result().record(waiting.photo.size)
        except (OSError, ValueError, RuntimeError) as error:
            record = {"error": sentence(error)}
        self._store(waiting.name, waiting.adapter, record)

    def _store(self, name: str, adapter: str, record: Record) -> None:
        self.answers[name][adapter] = record
        self.done += len(self.answers[name]) == len(self.adapters)


def kinds(answers: Sequence[Record]) -> set[str]:
    """The FILTERS that one photo's answers belong to."""
    if any("error" in answer for answer in answers):
        return {"errors"}
    boxes = answers[0]["boxes"]
    names = {"no table"} if not boxes else {"several tables"} if len(boxes) > 1 else set()
    if any(box["confidence"] < LOW_CONFIDENCE for box in boxes):
        names.add("low confidence")
    if not all(agree(boxes, other["boxes"]) for other in answers[1:]):
        names.add("adapters disagree")
    return names


def agree(one: Sequence[Record], other: Sequence[Record]) -> bool:
    """True where two answers have the same tables."""
    first, second = (
        np.array([box["xyxy"] for box in boxes], float).reshape(-1, 4) for boxes in (one, other)
    )
    return same_boxes(first, second)


def uncertainty(answers: Sequence[Record]) -> float:
    """How much a label of this photo would teach, 0 to 1: 1 where adapters disagree, else 1 minus
    the lowest confidence, 0.3 without a box."""
    answered = [answer for answer in answers if "error" not in answer]
    if not all(agree(answered[0]["boxes"], other["boxes"]) for other in answered[1:]):
        return 1.0
    scores = [box["confidence"] for answer in answered for box in answer["boxes"]]
    return 1 - min(scores) if scores else 0.3


def new_job(files: Sequence[str], folder: Path | None, adapters: list[str]) -> Job:
    """A job over uploaded photos and zips, or over a folder of this machine."""
    paths = [own_upload(file) for file in files]
    inner = find_photos([folder]) if folder else []
    named = [(path.relative_to(folder).as_posix(), path) for path in inner if folder]
    if not named and not paths:
        raise ValueError("there is no photo yet: add photos or a zip, or choose a folder")
    uploads().mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="job-", dir=uploads()))
    try:
        for path in paths:
            named += unpack(path, place) if path.suffix.lower() == ".zip" else [(path.name, path)]
    except (OSError, ValueError):
        shutil.rmtree(place)
        raise
    return Job(unique_names(named), adapters, {}, place)


def unpack(archive: Path, place: Path) -> list[tuple[str, Path]]:
    """The photos of a zip, extracted; ValueError for a broken, locked or exploding one."""
    target = Path(tempfile.mkdtemp(dir=place))
    try:
        with zipfile.ZipFile(archive) as pack:
            size = sum(member.file_size for member in pack.infolist())
            if size > min(MOST_UNPACKED, shutil.disk_usage(place).free // 2):
                raise ValueError(f"{archive.name} unpacks to {size / 1e9:.1f} GB: split it")
            if len(pack.infolist()) > MOST_FILES:
                raise ValueError(f"{archive.name} has more than {MOST_FILES} files: split it")
            pack.extractall(target)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{archive.name} cannot be unpacked: {error}") from error
    try:
        photos = find_photos([target])
    except ValueError as error:
        raise ValueError(f"there is no photo in {archive.name}") from error
    return [(path.relative_to(target).as_posix(), path) for path in photos]


def unique_names(named: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """The photos by printable name; the second photo of a name gets a number."""
    photos: dict[str, Path] = {}
    for text, path in named:
        name = text.encode(errors="backslashreplace").decode()  # a browser shows no other bytes
        stem, number, unique = Path(name), 1, name
        while unique in photos:
            number += 1
            unique = stem.with_name(f"{stem.stem}-{number}{stem.suffix}").as_posix()
        photos[unique] = path
    return photos


def folder_inside(root: Path, name: str) -> Path:
    """The folder `name` below `root`; ValueError for one that lies elsewhere."""
    folder = (root / name).resolve()
    if not folder.is_relative_to(root.resolve()) or not folder.is_dir():
        raise ValueError(f"there is no folder {name} below {root}")
    return folder
