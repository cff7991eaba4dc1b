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
from tqdm import tqdm

from nutrition_vl.bench import GENERATE, OURS, STATIC
from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.decoded import Decoded
from nutrition_vl.decoding.decoder import Decoder
from nutrition_vl.decoding.generate import generate, greedy, next_logits
from nutrition_vl.decoding.inputs import ModelInputs, collate
from nutrition_vl.decoding.kernels.cuda_graphs import Eager
from nutrition_vl.detector import Detector
from nutrition_vl.models.names import NONE

BOX = (123, 145, 678, 901)
WARM = 3  # times a shape comes before it counts: the first is eager, the second captures graphs
ABSENT = (
    " `generate` with compiled steps is absent: transformers compiles them on CUDA for unquantised"
    " models alone (--merged)."
)
ALIKE = 16  # photos whose answers are compared, at most


class Bench:
    """One detector and one set of photos, answered by `generate` and by the detector itself."""

    def __init__(self, detector: Detector, files: Sequence[Path]) -> None:
        self.detector, self.files = detector, files
        self.photos = [open_photo(file) for file in files]
        self.tokenizer, self.decoder = detector.processor.tokenizer, detector.decoder
        spelling = self.decoder.start.spelling
        self.script = [*spelling.spell(BOX), spelling.end]
        detector.detect(self.photos[:1])  # after which the adapter stays in use
        plain = Detector.around(detector.model, detector.processor, decoder="generate")
        detector.forced = plain.forced = self.script
        self.ways = {GENERATE: plain.detect, OURS: detector.detect, STATIC: self.static_cache}
        compiles = detector.model.device.type == "cuda" and not _quantized(detector.model)
        self.absent = "" if compiles else ABSENT
        if self.absent:
            del self.ways[STATIC]

    def latency(self, way: str, repeats: int) -> dict[str, float]:
        """Seconds from an open photo to its boxes, and the memory it takes in GiB."""
        if way != OURS:
            self.decoder.clear()  # or its graphs would count as memory of this way
        watch = Stopwatch(self.detector.model.device)
        for photo in self.photos[:1] if way == GENERATE else WARM * self.photos:
            self.ways[way]([photo])
        for photo in tqdm(islice(cycle(self.photos), repeats), f"{way}, one photo", repeats):
            watch.start()
            self.ways[way]([photo])
            watch.lap("photo")
        p50, p95 = np.percentile(watch.laps["photo"], [50, 95]).round(4).tolist()
        return {"p50": p50, "p95": p95, "peak_gib": watch.peak_gib()}

    def rate(self, way: str, size: int) -> float:
        """Photos a second from files to boxes, in batches of this size."""
        watch = Stopwatch(self.detector.model.device)
        count = max(4, size) if way == GENERATE else 4 * max(2, size)
        files = list(islice(cycle(self.files), count))
        for _ in range(1 if way == GENERATE else 2):  # the first of graphs is the warm-up
            watch.start()
            if way == OURS:
                list(self.detector.stream(files, batch_size=size))
            for at in range(0, count if way != OURS else 0, size):
                self.ways[way]([open_photo(file) for file in files[at : at + size]])
            watch.lap("all")
        return round(count / watch.laps["all"][-1], 3)

    def split(self, size: int) -> dict[str, float]:
        """Seconds that a batch of ours spends in each stage, when none overlaps another."""
        watch = Stopwatch(self.detector.model.device)
        self.decoder.on_stage = watch.lap
        for _ in range(2 * WARM):
            watch.start()
            inputs = self.inputs(islice(cycle(self.photos), size))
            watch.lap("preprocessing")
            self.decode(inputs, self.script)
        self.decoder.on_stage = lambda stage: None
        return {stage: round(float(np.median(t[WARM:])), 4) for stage, t in watch.laps.items()}

    def same(self) -> dict[str, float]:
        """Number of photos with the tokens of `generate` in the grammar, token by token.

        Of ours `alone`, in one `batch` and `without_graphs`; only the first token is forced. In
        bfloat16 an answer may differ where two tokens are nearly as likely, as those of
        `generate_in_a_batch` do: `largest_gap` is the largest distance of the logits of both where
        answers first differ, in an ordinary pass over the tokens before.
        """
        model, start = self.detector.model, replace(self.decoder.start, most=1)
        inputs, first = self.inputs(self.photos[:ALIKE]), self.script[:1]
        theirs = partial(generate, model, self.tokenizer, start=start, forced=first)
        plain = [answer for one in inputs for answer in theirs([one])]
        self.decoder.clear()  # its graphs know its cache, and no other's
        ours, eager = (Decoder(model, start, runner) for runner in (self.decoder.runner, Eager()))
        for _ in range(WARM):
            alone = [answer for one in inputs for answer in self.decode([one], first, ours)]
        for _ in range(WARM):
            batch = self.decode(inputs, first, ours)
        single = [answer for one in inputs for answer in self.decode([one], first, eager)]
        ways = {"alone": alone, "batch": batch, "without_graphs": single}
        ways["generate_in_a_batch"] = theirs(inputs)
        gaps = {way: [*map(partial(gap, model), inputs, plain, ways[way])] for way in ways}
        equal = {way: sum(one is None for one in gaps[way]) for way in ways}
        largest = max(one or 0.0 for way in ways for one in gaps[way])
        return {"photos": len(inputs), **equal, "largest_gap": round(largest, 4)}

    def inputs(self, photos: Iterable[Image.Image]) -> list[ModelInputs]:
        """The photos, prepared."""
        model, processor = self.detector.model, self.detector.processor
        return [ModelInputs.from_photo(photo, processor, model.dtype) for photo in photos]

    def decode(
        self, inputs: Sequence[ModelInputs], forced: Sequence[int], decoder: Decoder | None = None
    ) -> list[Decoded]:
        """Answers by our decoding, which begin with the forced tokens."""
        name = next(iter(self.detector.adapters), NONE)
        return (decoder or self.decoder).decode(inputs, name, forced)

    @torch.inference_mode()
    def static_cache(self, photos: Sequence[Image.Image]) -> torch.Tensor:
        """Answers (photos, tokens) of the script's length, by the library's best path.

        Its own attention kernels and a static cache; on CUDA `generate` compiles the steps.
        """
        model, count = self.detector.model, len(self.script)
        batch = collate(self.inputs(photos), self.tokenizer.pad_token_id).to(model.device)
        config = greedy(self.tokenizer)
        config.update(
            cache_implementation="static",
            min_new_tokens=count,
            max_new_tokens=count,
            repetition_penalty=1.0,
            output_logits=False,
            return_dict_in_generate=False,
        )
        return model.generate(**batch, generation_config=config)[:, -count:]


class Stopwatch:
    """Times finished work on a device and its memory."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.laps: dict[str, list[float]] = {}
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def start(self) -> None:
        """Starts the next lap."""
        if self.cuda:
            torch.cuda.synchronize()
        self.since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Ends a lap: its seconds are this stage's."""
        last = self.since
        self.start()
        self.laps.setdefault(stage, []).append(self.since - last)

    def peak_gib(self) -> float:
        """The GPU's memory at its peak, or the process's now."""
        bytes_ = (
            torch.cuda.max_memory_allocated() if self.cuda else psutil.Process().memory_info().rss
        )
        return round(bytes_ / 2**30, 2)


def gap(model: Any, inputs: ModelInputs, one: Decoded, other: Decoded) -> float | None:
    """The distance of two answers' logits where they first differ; None for equal answers."""
    tokens = _ids(one)
    for place, (first, second) in enumerate(zip(tokens, _ids(other), strict=False)):
        if first != second:
            logits = next_logits(model, inputs, tokens[:place])
            return abs(float(logits[first] - logits[second]))
    return None


def _quantized(model: Any) -> bool:
    return getattr(model, "hf_quantizer", None) is not None


def _ids(answer: Decoded) -> list[int]:
    return [token.id for token in answer.tokens]
