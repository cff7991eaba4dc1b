"""Photo in, boxes out: the same detector for the command, the page and the evaluation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Literal, Self

from PIL import Image
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from nutrition_vl.answer import Answer, read
from nutrition_vl.batching import halved, prefetched
from nutrition_vl.confidence import Calibration
from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.cuda_graphs import Eager, Graphs
from nutrition_vl.decoding.decoder import Decoder
from nutrition_vl.decoding.draft import Token
from nutrition_vl.decoding.generate import generate, greedy
from nutrition_vl.decoding.grammar import Spelling, State
from nutrition_vl.decoding.inputs import Question
from nutrition_vl.decoding.overflow import watch
from nutrition_vl.models.adapters import NONE, Adapters, fitting
from nutrition_vl.models.checkpoints import Checkpoint, resolve
from nutrition_vl.models.load import PixelBudget, budget_of, load_base, load_processor
from nutrition_vl.models.runtime import Runtime, detect_runtime

# What command, page and eval show. F1 is highest when boxes count from half of it on (Lipton et al.
# 2014, arXiv:1402.1892): 0.48 where it is 0.96. On 117 real photos the demo's boxes are all surer.
THRESHOLD = 0.4
Source = Image.Image | str | Path | Callable[[], Image.Image]  # called in a reading thread
Refusal = ValueError | OSError
Found = tuple[Image.Image, Answer] | Refusal


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
        check_prompt: bool = True,
    ) -> None:
        self.base, self.model, self.processor, self.runtime = base, model, processor, runtime
        # Replaces the checkpoint's own, which would fill in whatever a call leaves open: the hub's
        # Qwen2-VL asks for a repetition penalty, and that spoils repeated digits.
        model.generation_config = greedy(processor.tokenizer)
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
        quantization: str = "nf4",
        check_prompt: bool = True,
    ) -> Self:
        """The detector of a checkpoint; `adapter` is its own (True), another by name, or "none".

        `quantization` is one of QUANTIZATIONS; `check_prompt` refuses adapters trained with another
        prompt. Raises FileNotFoundError or ValueError, in one sentence, for what misfits.
        """
        runtime, found = detect_runtime(device), resolve(checkpoint, check_prompt)
        own = NONE if found.adapter is None else checkpoint
        chosen = str(own if adapter is True else adapter)
        if chosen != NONE:
            fitting(chosen, found.base, check_prompt)  # before minutes of loading the base
        model = load_base(found.base, runtime, found.revision, quantization)
        detector = cls(found.base, model, _bare_processor(found), runtime, check_prompt)
        detector.use_adapter(chosen)
        return detector

    @property
    def adapters(self) -> list[str]:
        """The names of the adapters that are loaded."""
        return [name for name in self._adapters.loaded if name != NONE]

    @cached_property
    def decoder(self) -> Decoder:
        """What decodes inside the grammar; ValueError for a tokenizer that cannot spell in it."""
        runner = Graphs() if self.runtime.device.type == "cuda" else Eager()
        return Decoder(self.model, State(Spelling.of(self.processor.tokenizer)), runner)

    def use_adapter(self, checkpoint: str | Path | None) -> None:
        """Detects with this adapter from now on; None or "none" is the bare base.

        It is loaded on first use. Raises FileNotFoundError or ValueError, in one sentence; then
        the adapter in use stays.
        """
        name = NONE if checkpoint is None else str(checkpoint)
        with self._lock:
            self._adapters[name]
            self._current = name

    def calibrate(self, calibration: Calibration) -> None:
        """Judges what the adapter in use says by this calibration from now on."""
        with self._lock:
            loaded = self._adapters.loaded
            loaded[self._current] = replace(loaded[self._current], calibration=calibration)

    def detect(
        self,
        images: Sequence[Image.Image],
        *,
        adapter: str | Path | None = None,
        threshold: float = 0.0,
        free: bool = False,
    ) -> list[Answer]:
        """One answer per upright RGB photo, in one batch, by the adapter in use or the one named.

        Boxes less sure than `threshold` are left out; a `free` answer keeps to no grammar. Raises
        ValueError for a photo that is too long and thin, or whose numbers overflow.
        """
        size = max(1, len(images))
        answers = []
        for found in self.stream(
            images, batch_size=size, adapter=adapter, threshold=threshold, free=free
        ):
            if isinstance(found, Exception):
                raise found
            answers.append(found[1])
        return answers

    def stream(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int = 8,
        adapter: str | Path | None = None,
        threshold: float = 0.0,
        free: bool = False,
    ) -> Iterator[Found]:
        """Each photo with its answer, or why there is none, which is that photo's alone.

        Photos may be files or functions that open one: on a GPU the next ones are read and prepared
        while the model works on these. A batch that does not fit the GPU's memory is halved.
        """
        with self._lock:
            name = self._current if adapter is None else str(adapter)
            used = self._adapters[name]
        asked = self._asked(sources, used.processor, 2 * batch_size)
        while some := list(islice(asked, batch_size)):
            yield from self._answers(some, name, threshold, free)

    def _asked(
        self, sources: Iterable[Source], processor: Qwen2VLProcessor, ahead: int
    ) -> Iterator[Question | Refusal]:
        """The question about each photo, or why there is none, prepared ahead for a GPU."""

        def ask(source: Source) -> Question | Refusal:
            try:
                return Question.about(_opened(source), processor, self.model)
            except (ValueError, OSError) as error:
                return error

        on_cpu = self.runtime.device.type == "cpu"  # whose cores the model needs itself
        return map(ask, sources) if on_cpu else prefetched(ask, sources, ahead)

    def _answers(
        self, asked: Sequence[Question | Refusal], name: str, threshold: float, free: bool
    ) -> Iterator[Found]:
        """What comes of a batch, in its order."""
        questions = [question for question in asked if isinstance(question, Question)]
        start = perf_counter()
        with self._lock, self._adapters.switched_to(name):
            said = iter(self._say(questions, name, free))
        seconds = (perf_counter() - start) / max(1, len(questions))
        for question in asked:
            if isinstance(question, Question):
                yield self._read(question, next(said), name, seconds, threshold)
            else:
                yield question

    def _say(
        self, questions: Sequence[Question], name: str, free: bool
    ) -> list[list[Token] | ValueError]:
        """The tokens of each answer by the adapter in use, or where its numbers overflowed."""
        if not questions:
            return []
        say = partial(generate, self.model) if free else partial(self.decoder.decode, adapter=name)
        said = halved(say, questions, self._forget)
        return [
            self._overflow(question) if tokens is None else tokens
            for question, tokens in zip(questions, said, strict=True)
        ]

    def _forget(self) -> None:
        if "decoder" in vars(self):  # which a tokenizer that cannot spell does without
            self.decoder.forget()

    def _overflow(self, question: Question) -> ValueError:
        """Asks once more, looking at every layer, and says which one to suspect."""
        end = self.processor.tokenizer.eos_token_id
        with watch(self.model) as layers:
            generate(self.model, [question], lambda said: [end])
        first = f", first in {layers[0]}" if layers else ""
        return ValueError(
            f"the model overflowed in {self.model.dtype}{first}: use a newer GPU or the CPU"
        )

    def _read(
        self,
        question: Question,
        said: list[Token] | ValueError,
        name: str,
        seconds: float,
        threshold: float,
    ) -> Found:
        if isinstance(said, ValueError):
            return said
        used, photo = self._adapters[name], question.photo
        seconds += question.seconds
        answer = read(said, photo.size, used.processor.tokenizer, used.calibration, seconds)
        return photo, answer.above(threshold)


def _opened(source: Source) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    return open_photo(source) if isinstance(source, str | Path) else source()


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
