"""Times answers of one model, by transformers' own `generate` and by this package, side by side."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.cuda_graphs import Eager
from nutrition_vl.decoding.decoder import Decoder
from nutrition_vl.decoding.draft import Row, Token
from nutrition_vl.decoding.generate import following, generate, inside
from nutrition_vl.decoding.inputs import Question
from nutrition_vl.detector import Detector
from nutrition_vl.models.adapters import NONE

BOX = (123, 145, 678, 901)
WARM = 3  # times a shape comes before it counts: the first is eager, the second captures graphs
ALIKE = 16  # photos whose answers are compared, at most


class Rehearsed(Decoder):
    """Decodes as ever, but finds each next word of `script`, if there is one, the likeliest."""

    script: Sequence[int] = ()

    def _hear(self, rows: Sequence[Row], predictions: Tensor) -> None:
        heard = predictions.cpu()
        for row, prediction in zip(rows, heard, strict=False):
            said, length = len(row.said), len(row.chain)
            forks = [said + length - 1 + len(fork) for fork in row.forks]
            for place, word in enumerate([*range(said, said + length), *forks]):
                if word < len(self.script):
                    following = self.start.spelling.alphabet.index(self.script[word])
                    prediction[place, following] += 1e6
        super()._hear(rows, heard)


class Bench:
    """One detector and one set of photos, asked by `generate` and by the detector itself."""

    def __init__(self, detector: Detector, files: Sequence[Path]) -> None:
        self.detector, self.files = detector, files
        self.photos = [open_photo(file) for file in files]
        start, runner = detector.decoder.start, detector.decoder.runner
        self.decoder = detector.decoder = Rehearsed(detector.model, start, runner)
        self.script = [*start.spelling.spell(BOX), start.spelling.end]
        self.decoder.script = self.script
        detector.detect(self.photos[:1])  # after which the adapter stays in use

    def latency(self, way: str, repeats: int) -> dict[str, float]:
        """Seconds from an open photo to its boxes, and the memory it takes in GiB."""
        ask = self._by_generate if way == "generate" else self.detector.detect
        watch = Stopwatch(self.detector.runtime.device)
        for photo in self.photos[:1] if way == "generate" else WARM * self.photos:
            ask([photo])
        for photo in tqdm(islice(cycle(self.photos), repeats), f"{way}, one photo", repeats):
            watch.start()
            ask([photo])
            watch.lap("photo")
        p50, p95 = np.percentile(watch.laps["photo"], [50, 95]).round(4).tolist()
        return {"p50": p50, "p95": p95, "peak_gib": watch.peak_gib()}

    def rate(self, way: str, size: int) -> float:
        """Photos a second from files to boxes, in batches of this size."""
        watch = Stopwatch(self.detector.runtime.device)
        count = max(4, size) if way == "generate" else 4 * max(2, size)
        files = list(islice(cycle(self.files), count))
        for _ in range(1 if way == "generate" else 2):  # the first of ours is the warm-up
            watch.start()
            if way == "generate":
                for at in range(0, count, size):
                    self._by_generate([open_photo(file) for file in files[at : at + size]])
            else:
                list(self.detector.stream(files, batch_size=size))
            watch.lap("all")
        return round(count / watch.laps["all"][-1], 3)

    def split(self, size: int) -> dict[str, float]:
        """Seconds that a batch of ours spends in each stage, when none overlaps another."""
        watch = Stopwatch(self.detector.runtime.device)
        self.decoder.lap = watch.lap
        for _ in range(2 * WARM):
            watch.start()
            questions = self.questions(islice(cycle(self.photos), size))
            watch.lap("preprocessing")
            self.decode(questions)
        self.decoder.lap = lambda stage: None
        return {stage: round(float(np.median(t[WARM:])), 4) for stage, t in watch.laps.items()}

    def same(self) -> dict[str, float]:
        """How many of the `photos` get the same tokens from us, `alone`, in one `batch` and
        `without_graphs`, as from `generate` in the grammar, a photo and a token at a time.

        Told that there is one box, the model says in its own words which. In bfloat16 an answer may
        tip over where two tokens are as good as equal, as those of `generate_in_a_batch` do:
        `largest_gap` is how far at most the logits of both lay apart, where answers first differ,
        for an ordinary pass over what was said.
        """
        model, start = self.detector.model, replace(self.decoder.start, most=1)
        questions, follow = self.questions(self.photos[:ALIKE]), inside(start)
        theirs = partial(generate, model, follow=lambda s: follow(s) if s else self.script[:1])
        plain = [said for asked in questions for said in theirs([asked])]
        self.decoder.forget()  # its graphs know its slots, and no other's
        ours, eager = (Rehearsed(model, start, run) for run in (self.decoder.runner, Eager()))
        ours.script = eager.script = self.script[:1]
        for _ in range(WARM):
            alone = [said for asked in questions for said in self.decode([asked], ours)]
        for _ in range(WARM):
            batch = self.decode(questions, ours)
        single = [said for asked in questions for said in self.decode([asked], eager)]
        ways = {"alone": alone, "batch": batch, "without_graphs": single}
        ways["generate_in_a_batch"] = theirs(questions)
        found = {way: sum(map(_equal, plain, said)) for way, said in ways.items()}
        apart = [
            gap(model, asked, *both)
            for said in ways.values()
            for asked, *both in zip(questions, plain, said, strict=True)
        ]
        return {"photos": len(questions), **found, "largest_gap": round(max(apart), 4)}

    def questions(self, photos: Iterable[Image.Image]) -> list[Question]:
        """The photos' questions, prepared."""
        model, processor = self.detector.model, self.detector.processor
        return [Question.about(photo, processor, model) for photo in photos]

    def decode(
        self, questions: Sequence[Question], decoder: Decoder | None = None
    ) -> list[list[Token] | None]:
        """Answers by our decoding."""
        name = next(iter(self.detector.adapters), NONE)
        return (decoder or self.decoder).decode(questions, name)

    def _by_generate(self, photos: Sequence[Image.Image]) -> None:
        questions = self.questions(photos)
        generate(self.detector.model, questions, lambda said: [self.script[len(said)]])


class Stopwatch:
    """Times work on a device, waiting for it to be done, and sees the memory it takes."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.laps: dict[str, list[float]] = {}
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def start(self) -> None:
        """From here the next lap counts."""
        if self.cuda:
            torch.cuda.synchronize()
        self.since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The seconds since the last lap were this stage's."""
        last = self.since
        self.start()
        self.laps.setdefault(stage, []).append(self.since - last)

    def peak_gib(self) -> float:
        """The GPU's memory at its peak, or the process's now."""
        bytes_ = (
            torch.cuda.max_memory_allocated() if self.cuda else psutil.Process().memory_info().rss
        )
        return round(bytes_ / 2**30, 2)


def gap(
    model: Any, question: Question, one: list[Token] | None, other: list[Token] | None
) -> float:
    """How far the logits of two answers' tokens lie apart where they first differ, if they do."""
    said = _ids(one)
    for place, (first, second) in enumerate(zip(said, _ids(other), strict=False)):
        if first != second:
            logits = following(model, question, said[:place])
            return abs(float(logits[first] - logits[second]))
    return 0.0


def _ids(said: list[Token] | None) -> list[int]:
    return [token.id for token in said or []]


def _equal(one: list[Token] | None, other: list[Token] | None) -> bool:
    return _ids(one) == _ids(other)
