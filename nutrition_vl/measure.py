"""Times answers of one model, by transformers' own `generate` and by this package, side by side."""

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nutrition_vl.decode import Decoder
from nutrition_vl.detector import Detector
from nutrition_vl.graphs import Eager
from nutrition_vl.photos import open_photo
from nutrition_vl.plain import Follow, generate, inside
from nutrition_vl.questions import Question
from nutrition_vl.rows import Row, Token

BOX = (123, 145, 678, 901)
WARM = 3  # rounds before any that counts: the first is eager, the second captures graphs
ALIKE = 4  # photos whose answers are compared; random weights say long ones


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
        detector.detect(self.photos[:1])  # after which the adapter stays in use

    def same(self) -> dict[str, str]:
        """How many answers, in the model's own words, are the same token by token in other ways."""
        questions = [self.question(photo) for photo in self.photos[:ALIKE]]
        for _ in range(WARM):
            ours = [said for asked in questions for said in self.decode([asked])]
        eager = Decoder(self.detector.model, self.decoder.start, Eager())
        follow = inside(self.decoder.start)
        others = {
            "without graphs": [self.decode([asked], eager)[0] for asked in questions],
            "in one batch": self.decode(questions),
            "by generate in the grammar": [self.plain([one], follow)[0] for one in questions],
        }
        return {
            way: f"{sum(map(_equal, ours, said))} of {len(ours)}" for way, said in others.items()
        }

    def measure_plain(self, sizes: Sequence[int], repeats: int) -> dict[str, Any]:
        """What `generate` takes."""

        def detect(photo: Image.Image) -> None:
            self.plain([self.question(photo)], self.rehearsed)

        def flow(size: int) -> int:
            for _ in range(rounds := max(1, 4 // size)):
                files = islice(cycle(self.files), size)
                self.plain([self.question(open_photo(file)) for file in files], self.rehearsed)
            return rounds * size

        return self.measure("generate", detect, flow, sizes, repeats, self.photos[:2])

    def measure_ours(self, sizes: Sequence[int], repeats: int) -> dict[str, Any]:
        """What the detector takes."""

        def detect(photo: Image.Image) -> None:
            self.detector.detect([photo])

        def flow(size: int) -> int:
            files = list(islice(cycle(self.files), 4 * max(2, size)))
            return len(list(self.detector.stream(files, batch_size=size)))

        self.decoder.script = self.script
        return self.measure("ours", detect, flow, sizes, repeats, WARM * self.photos)

    def measure(
        self,
        name: str,
        detect: Callable[[Image.Image], None],
        flow: Callable[[int], int],
        sizes: Sequence[int],
        repeats: int,
        warm: Sequence[Image.Image],
    ) -> dict[str, Any]:
        """Seconds a photo of `detect`, and photos a second of `flow` by batch size."""
        watch, rates = Stopwatch(self.detector.runtime.device), {}
        for photo in warm:
            detect(photo)
        for photo in tqdm(islice(cycle(self.photos), repeats), f"{name}, one photo", repeats):
            watch.start()
            detect(photo)
            watch.lap("photo")
        for size in tqdm(sizes, f"{name}, batches"):
            flow(size)
            watch.start()
            count = flow(size)
            watch.lap(f"batches of {size}")
            rates[str(size)] = round(count / watch.laps[f"batches of {size}"][0], 3)
        p50, p95 = np.percentile(watch.laps["photo"], [50, 95])
        return {
            "latency_p50_s": round(float(p50), 4),
            "latency_p95_s": round(float(p95), 4),
            "photos_per_s": rates,
            "tokens_per_s": {size: round(r * len(self.script), 1) for size, r in rates.items()},
            "peak_gib": watch.peak_gib(),
        }

    def split(self, size: int) -> dict[str, float]:
        """Seconds that a batch of ours spends in each stage, when none overlaps another."""
        watch = Stopwatch(self.detector.runtime.device)
        for _ in range(3 * WARM):
            watch.start()
            questions = [self.question(photo) for photo in islice(cycle(self.photos), size)]
            watch.lap("preprocessing")
            self.decoder.lap = watch.lap
            self.decode(questions)
            self.decoder.lap = lambda stage: None
        return {stage: round(float(np.median(t[WARM:])), 4) for stage, t in watch.laps.items()}

    def question(self, photo: Image.Image) -> Question:
        """A photo's question, prepared."""
        return Question.about(photo, self.detector.processor, self.detector.model)

    def decode(
        self, questions: Sequence[Question], decoder: Decoder | None = None
    ) -> list[list[Token] | None]:
        """Answers by our decoding."""
        return (decoder or self.decoder).decode(questions, self.detector.adapters[0])

    def plain(self, questions: Sequence[Question], follow: Follow) -> list[list[Token] | None]:
        """Answers by `generate`."""
        return generate(self.detector.model, questions, follow)

    def rehearsed(self, said: list[int]) -> list[int]:
        """The next word of the script."""
        return [self.script[len(said)]]


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


def _equal(one: list[Token] | None, other: list[Token] | None) -> bool:
    return [token.id for token in one or []] == [token.id for token in other or []]
