"""Photo in, boxes out: the same detector for the command, the page and the evaluation."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self

import numpy as np
import supervision as sv
import torch
from peft import PeftModel
from PIL import Image
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    BatchFeature,
    GenerationConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)

from nutrition_vl import prompts
from nutrition_vl.boxes import LABELS, from_text
from nutrition_vl.checkpoints import Checkpoint, resolve
from nutrition_vl.model import PixelBudget, attach, budget_of, load_base, load_processor
from nutrition_vl.runtime import Runtime, detect_runtime

MAX_NEW_TOKENS = 128  # a box takes about 26
NONE = "none"


@dataclass(frozen=True)
class Answer:
    """Boxes in pixels of the photo with confidence, the model's own words, seconds per photo."""

    detections: sv.Detections
    text: str
    malformed: int
    seconds: float

    def record(self, image_wh: tuple[int, int]) -> dict[str, Any]:
        """The answer as one object of JSON, the photo's size beside it."""
        found = self.detections
        assert found.class_id is not None and found.confidence is not None
        corners = found.xyxy.astype(float).round(1)  # float32 would print as 1.2999999523162842
        columns = zip(corners, found.class_id, found.confidence, strict=True)
        boxes = [
            {"xyxy": box.tolist(), "label": LABELS[kind], "confidence": round(float(p), 4)}
            for box, kind, p in columns
        ]
        said = {"boxes": boxes, "text": self.text, "seconds": round(self.seconds, 3)}
        return {"width": image_wh[0], "height": image_wh[1]} | said


class Detector:
    """One 4-bit base with any number of adapters on it, of which one or none is in use.

    Threads may share it: each answer comes wholly from the adapter it was asked of.
    """

    def __init__(
        self,
        base: str,
        model: Qwen2VLForConditionalGeneration,
        processor: Qwen2VLProcessor,
        runtime: Runtime,
    ) -> None:
        self.base, self.model, self.processor, self.runtime = base, model, processor, runtime
        # Replaces the checkpoint's own, which would fill in whatever a call leaves open: the hub's
        # Qwen2-VL asks for a repetition penalty, and that spoils repeated digits.
        model.generation_config = _greedy(processor)
        self._peft: PeftModel | None = None  # switches the adapters inside `model`
        self._adapters: dict[str, tuple[str, Qwen2VLProcessor]] = {}  # with PEFT's name for each
        self._current = NONE
        self._lock = Lock()

    @classmethod
    def load(
        cls,
        checkpoint: str | Path = "demo",
        *,
        adapter: Literal[True] | str | Path = True,
        device: str = "auto",
    ) -> Self:
        """The detector of a checkpoint; `adapter` is its own (True), another by name, or "none".

        Raises FileNotFoundError or ValueError, in one sentence, for what is missing or misfits.
        """
        runtime, found = detect_runtime(device), resolve(checkpoint)
        own = NONE if found.adapter is None else checkpoint
        chosen = str(own if adapter is True else adapter)
        if chosen != NONE:
            _fitting(chosen, found.base)  # before the base is loaded, which may take minutes
        model = load_base(found.base, runtime, found.revision)
        detector = cls(found.base, model, _bare_processor(found), runtime)
        detector.use_adapter(chosen)
        return detector

    @property
    def adapters(self) -> list[str]:
        """The names of the adapters that are loaded."""
        return list(self._adapters)

    def use_adapter(self, checkpoint: str | Path | None) -> None:
        """Detects with this adapter from now on; None or "none" is the bare base.

        It is loaded on first use. Raises FileNotFoundError or ValueError, in one sentence; then
        the adapter in use stays.
        """
        name = NONE if checkpoint is None else str(checkpoint)
        with self._lock:
            self._load_adapter(name)
            self._current = name

    def detect(
        self, images: Sequence[Image.Image], *, adapter: str | Path | None = None
    ) -> list[Answer]:
        """One answer per upright RGB photo, in one batch, by the adapter in use or the one named.

        Raises ValueError for a photo too long and thin, before any is looked at.
        """
        if not images:
            return []
        with self._lock:
            name = self._current if adapter is None else str(adapter)
            processor = self._load_adapter(name)
            start = time.perf_counter()
            inputs = _prepare(images, processor).to(self.runtime.device)
            with self._switched_to(name):
                tokens, scores = _generate(self.model, inputs)
            seconds = (time.perf_counter() - start) / len(images)
        return [
            read(said, score, image.size, processor, seconds)
            for said, score, image in zip(tokens, scores, images, strict=True)
        ]

    def _load_adapter(self, name: str) -> Qwen2VLProcessor:
        """Puts the adapter on the model unless it is there, and returns its processor."""
        if name == NONE:
            return self.processor
        if name not in self._adapters:
            folder = _fitting(name, self.base)
            key, processor = f"adapter{len(self._adapters)}", load_processor(folder)
            self._peft = attach(self._peft or self.model, folder, key)
            self._adapters[name] = key, processor
        return self._adapters[name][1]

    @contextmanager
    def _switched_to(self, name: str) -> Iterator[None]:
        if self._peft is None:
            yield
        elif name == NONE:
            with self._peft.disable_adapter():
                yield
        else:
            self._peft.set_adapter(self._adapters[name][0])
            yield


def _greedy(processor: Qwen2VLProcessor) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
        return_dict_in_generate=True,
        output_logits=True,
    )


def _bare_processor(checkpoint: Checkpoint) -> Qwen2VLProcessor:
    """What the base is asked with: the processor of the adapter it comes with, to compare them.

    The hub's own budget of 16,384 tokens a photo would take 256 GB of attention, so it is cut.
    """
    if checkpoint.adapter:
        return load_processor(checkpoint.adapter)
    processor = load_processor(checkpoint.base, revision=checkpoint.revision)
    own = budget_of(processor)
    budget = PixelBudget(own.min_tokens, min(own.max_tokens, PixelBudget().max_tokens))
    processor.image_processor.size = budget.size(processor.image_processor)
    return processor


def _fitting(name: str, base: str) -> Path:
    """The folder of an adapter that was made for the base at hand."""
    found = resolve(name)
    if found.adapter is None:
        raise ValueError(f"{name} is a base without an adapter: name a run or a checkpoint")
    if found.base != base:
        raise ValueError(f"{name} is an adapter of {found.base}, but the base loaded is {base}")
    return found.adapter


def _prepare(images: Sequence[Image.Image], processor: Qwen2VLProcessor) -> BatchFeature:
    asked = processor.apply_chat_template(prompts.ask(), tokenize=False, add_generation_prompt=True)
    budget = budget_of(processor)
    return processor(
        text=[asked] * len(images),
        images=[budget.fit(image, processor.image_processor) for image in images],
        padding=True,
        padding_side="left",  # so that every answer starts right after its question
        return_tensors="pt",
    )


@torch.inference_mode()
def _generate(model: Any, inputs: BatchFeature) -> tuple[Tensor, Tensor]:
    """The new tokens (photos, steps) and the log probability of each, on the CPU.

    Math attention only: which fused kernel runs depends on the machine, and each rounds its way.
    """
    with sdpa_kernel(SDPBackend.MATH):
        output = model.generate(**inputs)
    tokens = output.sequences[:, inputs["input_ids"].shape[1] :]
    steps = [
        logits.float().log_softmax(-1).gather(1, chosen[:, None])
        for logits, chosen in zip(output.logits, tokens.T, strict=True)
    ]
    scores = torch.cat(steps, dim=1)
    if scores.isnan().any():
        raise ValueError(f"the model overflowed in {model.dtype}: use a newer GPU or the CPU")
    return tokens.cpu(), scores.cpu()


def read(
    tokens: Tensor,
    scores: Tensor,
    image_wh: tuple[int, int],
    processor: Qwen2VLProcessor,
    seconds: float,
) -> Answer:
    """What the tokens say; a box is as sure as the geometric mean probability of its tokens."""
    tokenizer = processor.tokenizer
    said = list(takewhile(lambda token: token != tokenizer.eos_token_id, tokens.tolist()))
    # Decoded from the start each time: a character may take several tokens.
    texts = [
        tokenizer.decode(said[:count], skip_special_tokens=False) for count in range(len(said) + 1)
    ]
    parsed = from_text(texts[-1], image_wh)
    ends = np.array([len(text) for text in texts])
    inside = [(ends[1:] > start) & (ends[:-1] < end) for start, end in parsed.spans]
    sure = [scores[: len(said)][where].mean().exp().item() for where in inside]
    parsed.detections.confidence = np.array(sure, dtype=np.float32)
    return Answer(parsed.detections, texts[-1], parsed.malformed, seconds)
