"""Photo in, boxes out: one detector for the command, the page and the evaluation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any, Literal, Self

from PIL import Image

from nutrition_vl.answer import Answer, Detection
from nutrition_vl.confidence import Calibration
from nutrition_vl.decoding.decoded import Decoded
from nutrition_vl.decoding.decoder import Decoder
from nutrition_vl.decoding.generate import generate
from nutrition_vl.decoding.grammar import Spelling, State
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.decoding.kernels.cuda_graphs import Eager, Graphs
from nutrition_vl.looks import second_look as second
from nutrition_vl.looks.sources import Prepared, Source, prepare_inputs
from nutrition_vl.models.adapters import Adapters, base_processor, fitting
from nutrition_vl.models.checkpoints import resolve
from nutrition_vl.models.family import Model, Processor
from nutrition_vl.models.load import load_base
from nutrition_vl.models.names import DECODERS, DETECTION_ATTENTIONS, NONE, check_choice
from nutrition_vl.models.quantization import check_quantization, is_int8
from nutrition_vl.models.runtime import detect_runtime
from nutrition_vl.running.batching import prefetch, run_in_halves


class Detector:
    """One base with any number of adapters on it, of which one or none is in use.

    Thread-safe: each answer comes entirely from the adapter that the call names.
    """

    def __init__(
        self,
        base: str | None,
        model: Model,
        processor: Processor,
        decoder: str = "fast",
        check_prompt: bool = True,
        second_look: bool | None = None,
        attention: str = "math",
    ) -> None:
        _check(decoder, attention)
        self.base, self.model, self.processor = base, model, processor
        self.plain, self.second_look = decoder == "generate", second_look
        self.attention = attention
        self.forced: Sequence[int] = ()  # the tokens of every answer, for benchmarks
        self._adapters = Adapters(base, model, processor, check_prompt)
        self._current = NONE
        self._lock = Lock()

    @classmethod
    def load(
        cls,
        checkpoint: str | Path = "demo",
        *,
        adapter: Literal[True] | str | Path = True,
        device: str = "auto",
        quantization: str | None = None,
        decoder: str = "fast",
        check_prompt: bool = True,
        second_look: bool | None = None,
        attention: str = "math",
    ) -> Self:
        """The detector of a checkpoint; `adapter` is its own (True), another by name, or "none".

        `quantization` is one of QUANTIZATIONS, by default the one on the checkpoint's card.
        `decoder` "generate" detects by plain transformers: the same boxes, slower. `check_prompt`
        refuses adapters trained with another prompt. `second_look` detects boxes in doubt again on
        a crop, by default where the checkpoint's card says so. `attention` "sdpa" is faster on a
        GPU, and rounds by machine. Raises FileNotFoundError or ValueError, in one sentence, for
        anything missing or unfit.
        """
        _check(decoder, attention)  # before minutes of loading the base
        runtime, source = detect_runtime(device), resolve(checkpoint, check_prompt)
        bits = check_quantization(quantization or source.quantization)
        own = NONE if source.adapter is None else checkpoint
        chosen = str(own if adapter is True else adapter)
        if chosen != NONE:
            fitting(chosen, source.base, check_prompt)
        model = load_base(source.base, runtime, source.revision, bits)
        processor = base_processor(source)
        options = decoder, check_prompt, second_look, attention
        detector = cls(source.base, model, processor, *options)
        detector.use_adapter(chosen)
        return detector

    @classmethod
    def around(cls, model: Model, processor: Processor, **options: Any) -> Self:
        """The detector of a model in memory, with the adapter that is active in it."""
        return cls(None, model, processor, **options)

    @property
    def adapters(self) -> list[str]:
        """The names of the loaded adapters."""
        return [name for name in self._adapters.loaded if name != NONE]

    @cached_property
    def start(self) -> State:
        """The start of the grammar; ValueError for a tokenizer that cannot spell it."""
        return State(Spelling.of(self.processor.tokenizer))

    @cached_property
    def decoder(self) -> Decoder:
        """The fast decoder."""
        # LLM.int8 synchronises with the CPU, which a capture forbids.
        graphs = self.model.device.type == "cuda" and not is_int8(self.model)
        runner = Graphs() if graphs else Eager()
        return Decoder(self.model, self.start, runner, flash=self.attention == "sdpa")

    def use_adapter(self, checkpoint: str | Path | None) -> None:
        """Detects with this adapter from now on; None or "none" is the bare base.

        It is loaded on first use. Raises FileNotFoundError or ValueError, in one sentence; then
        the adapter in use stays.
        """
        name = NONE if checkpoint is None else str(checkpoint)
        with self._lock:
            self._adapters[name]
            self._current = name

    def margin(self, adapter: str) -> float:
        """The share of a box's size that a crop adds on each side, from the calibration."""
        with self._lock:
            return self._adapters[adapter].calibration.margin

    def calibrate(self, calibration: Calibration) -> None:
        """Uses this calibration for the adapter in use from now on."""
        with self._lock:
            loaded = self._adapters.loaded
            loaded[self._current] = replace(loaded[self._current], calibration=calibration)

    def detect(
        self,
        photos: Sequence[Source],
        *,
        adapter: str | Path | None = None,
        threshold: float = 0.0,
        free: bool = False,
    ) -> list[Answer]:
        """One answer per photo, in one batch, by the adapter in use or the one named.

        Photos are files or upright RGB images. Leaves out boxes below the confidence `threshold`; a
        `free` answer has no grammar. Raises ValueError or OSError for a photo without an answer.
        """
        detections = self.stream(
            photos,
            batch_size=max(1, len(photos)),
            adapter=adapter,
            threshold=threshold,
            free=free,
        )
        return [detection.unwrap() for detection in detections]

    def stream(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 8,
        adapter: str | Path | None = None,
        threshold: float = 0.0,
        free: bool = False,
    ) -> Iterator[Detection]:
        """One detection per photo, in order; an error is that photo's alone.

        Photos may be files or functions that open one: on a GPU the next ones are opened and
        prepared while the model works. A batch that does not fit into the GPU's memory is halved.
        """
        with self._lock:
            name = self._current if adapter is None else str(adapter)
            processor = self._adapters[name].processor
        ahead = self._prepared(sources, processor, 2 * batch_size)
        while batch := list(islice(ahead, batch_size)):
            yield from self._detect_batch(batch, name, threshold, free)

    def _prepared(
        self, sources: Iterable[Source], processor: Processor, ahead: int
    ) -> Iterator[Prepared]:
        """Inputs, or the detection with the error, in order; on a GPU by threads."""
        prepare = partial(prepare_inputs, processor=processor, model=self.model)
        on_cpu = self.model.device.type == "cpu"  # the model needs its cores
        return map(prepare, sources) if on_cpu else prefetch(prepare, sources, ahead)

    def _detect_batch(
        self, batch: Sequence[Prepared], name: str, threshold: float, free: bool
    ) -> Iterator[Detection]:
        detections = self._look(batch, name, free)
        used = self._adapters[name]
        twice = used.second_look if self.second_look is None else self.second_look
        if twice and not free:

            def look(crops: Sequence[Image.Image]) -> list[Detection]:
                inputs = self._prepared(crops, used.processor, 2 * len(batch))
                return self._look([*inputs], name, free)

            detections = second.confirm(detections, look, threshold)
        for one in detections:
            yield replace(one, answer=one.answer and one.answer.above(threshold))

    def _look(self, batch: Sequence[Prepared], name: str, free: bool) -> list[Detection]:
        """One look at each photo of a batch; errors stay."""
        inputs = [one for one in batch if isinstance(one, ModelInputs)]
        start = perf_counter()
        with self._lock, self._adapters.switched_to(name):
            decode = self._decoding(name, free)
            answers = iter(run_in_halves(decode, inputs, self._clear) if inputs else [])
        seconds = (perf_counter() - start) / max(1, len(inputs))
        return [
            self._detection(one, next(answers), name, seconds)
            if isinstance(one, ModelInputs)
            else one
            for one in batch
        ]

    def _decoding(self, name: str, free: bool) -> Callable[[Sequence[ModelInputs]], list[Decoded]]:
        start = None if free else self.start
        plain = partial(generate, self.model, self.processor.tokenizer, start=start)
        decode = plain if free or self.plain else partial(self.decoder.decode, adapter=name)
        return partial(decode, forced=self.forced)

    def _clear(self) -> None:
        if "decoder" in vars(self):
            self.decoder.clear()

    def _detection(
        self, inputs: ModelInputs, decoded: Decoded, name: str, seconds: float
    ) -> Detection:
        if decoded.overflowed:
            dtype = self.model.dtype
            error = ValueError(f"the model overflowed in {dtype}: use a newer GPU or the CPU")
            return Detection(inputs.photo, error=error)
        used, photo = self._adapters[name], inputs.photo
        seconds += inputs.seconds
        tokenizer = used.processor.tokenizer
        answer = Answer.from_decoded(decoded, photo.size, tokenizer, used.calibration, seconds)
        return Detection(photo, answer)


def _check(decoder: str, attention: str) -> None:
    check_choice("decoder", decoder, DECODERS)
    check_choice("attention", attention, DETECTION_ATTENTIONS)
    if (decoder, attention) == ("generate", "sdpa"):
        raise ValueError("the decoder generate has math attention alone: leave attention sdpa out")
