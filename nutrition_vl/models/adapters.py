"""Any number of adapters on one base, switched without loading the base again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from nutrition_vl.confidence import Calibration
from nutrition_vl.models.checkpoints import resolve_adapter
from nutrition_vl.models.load import attach, load_processor

NONE = "none"


@dataclass(frozen=True)
class Adapter:
    """What an adapter is asked with and judged by; `key` is PEFT's name for it."""

    key: str
    processor: Qwen2VLProcessor
    calibration: Calibration


class Adapters:
    """The adapters on `model`, which is of the base named `base`, by the names they are asked for.

    "none" is the base alone, asked with the processor given. Not for several threads at once.
    """

    def __init__(
        self,
        base: str,
        model: Qwen2VLForConditionalGeneration,
        processor: Qwen2VLProcessor,
        check_prompt: bool = True,
    ) -> None:
        self.base, self.model, self.check_prompt = base, model, check_prompt
        self.loaded = {NONE: Adapter(NONE, processor, Calibration())}
        self._peft: PeftModel | None = None  # switches the adapters inside `model`

    def __getitem__(self, name: str) -> Adapter:
        """The adapter of this name, which is put on the model unless it is there."""
        if name not in self.loaded:
            folder = fitting(name, self.base, self.check_prompt)
            key = f"adapter{len(self.loaded)}"
            adapter = Adapter(key, load_processor(folder), Calibration.load(folder))
            self._peft = attach(self._peft or self.model, folder, key)
            self.loaded[name] = adapter
        return self.loaded[name]

    @contextmanager
    def switched_to(self, name: str) -> Iterator[None]:
        """The model answers by this adapter, which is loaded, inside the context."""
        if self._peft is None:
            yield
        elif name == NONE:
            with self._peft.disable_adapter():
                yield
        else:
            self._peft.set_adapter(self.loaded[name].key)
            yield


def fitting(name: str, base: str, check_prompt: bool = True) -> Path:
    """The folder of an adapter that was made for the base at hand; ValueError if it was not."""
    found, folder = resolve_adapter(name, check_prompt)
    if found.base != base:
        raise ValueError(f"{name} is an adapter of {found.base}, but the base loaded is {base}")
    return folder
