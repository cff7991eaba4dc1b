"""Any number of adapters on one base, switched without loading the base again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from nutrition_vl.confidence import Calibration
from nutrition_vl.models.checkpoints import Checkpoint, resolve, resolve_adapter
from nutrition_vl.models.family import Model, Processor
from nutrition_vl.models.load import PixelBudget, attach, budget_of, load_processor
from nutrition_vl.models.names import NONE


@dataclass(frozen=True)
class Adapter:
    """An adapter's processor, calibration and second look; `key` is PEFT's name for it."""

    key: str
    processor: Processor
    calibration: Calibration
    second_look: bool = False


class Adapters:
    """The adapters on one model by name; "none" is the model as given, with this processor.

    `base` is the name of the model's base; without it no other adapter can be loaded. Not
    thread-safe.
    """

    def __init__(
        self, base: str | None, model: Model, processor: Processor, check_prompt: bool = True
    ) -> None:
        self.base, self.model, self.check_prompt = base, model, check_prompt
        self.loaded = {NONE: Adapter(NONE, processor, Calibration())}
        self._peft: PeftModel | None = None  # switches the adapters inside `model`

    def __getitem__(self, name: str) -> Adapter:
        """The adapter of this name, loaded on first use."""
        if name not in self.loaded:
            checkpoint, folder = fitting(name, self.base, self.check_prompt)
            key, calibration = f"adapter{len(self.loaded)}", Calibration.load(folder)
            adapter = Adapter(key, load_processor(folder), calibration, checkpoint.second_look)
            self._peft = attach(self._peft or self.model, folder, key)
            self.loaded[name] = adapter
        return self.loaded[name]

    @contextmanager
    def switched_to(self, name: str) -> Iterator[None]:
        """The model uses this loaded adapter inside the context."""
        if self._peft is None:
            yield
        elif name == NONE:
            with self._peft.disable_adapter():
                yield
        else:
            self._peft.set_adapter(self.loaded[name].key)
            yield


def fitting(name: str, base: str | None, check_prompt: bool = True) -> tuple[Checkpoint, Path]:
    """The checkpoint and the folder of an adapter; ValueError for one of another base."""
    checkpoint, folder = resolve_adapter(name, check_prompt)
    if checkpoint.base != base:
        raise ValueError(
            f"{name} is an adapter of {checkpoint.base}, but the base loaded is {base}"
        )
    return checkpoint, folder


def processor_of(checkpoint: str | Path, adapter: str) -> Processor:
    """The processor that photos for a checkpoint are prepared with; no model is loaded.

    `adapter` is the checkpoint's own, another, or "none".
    """
    source = resolve(checkpoint)
    if adapter != NONE:
        return load_processor(fitting(adapter, source.base)[1])
    return base_processor(source)


def base_processor(checkpoint: Checkpoint) -> Processor:
    """The base's processor: that of the checkpoint's adapter, so that they can be compared.

    The hub's own budget of 16,384 tokens per photo would take 256 GB of attention, so it is capped.
    """
    if checkpoint.adapter:
        return load_processor(checkpoint.adapter)
    processor = load_processor(checkpoint.base, revision=checkpoint.revision)
    own = budget_of(processor)
    budget = PixelBudget(own.min_tokens, min(own.max_tokens, PixelBudget().max_tokens))
    processor.image_processor.size = budget.size(processor.image_processor)
    return processor
