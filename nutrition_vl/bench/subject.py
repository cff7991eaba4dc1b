"""The detector that is timed: NF4 with an unmerged adapter, or merged in the base's own bits."""

from peft import PeftModel

from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import DEMO, resolve
from nutrition_vl.models.family import Processor
from nutrition_vl.models.load import PixelBudget, attach, load_base, load_processor
from nutrition_vl.models.names import NF4, NONE
from nutrition_vl.models.random_weights import add_random_adapter, is_random, random_base, skeleton
from nutrition_vl.models.runtime import Runtime, detect_runtime


def opened(checkpoint: str, device: str, merged: bool = False, attention: str = "math") -> Detector:
    """The detector of a checkpoint, or of random weights with a random adapter.

    A `merged` one has no quantisation: bfloat16 on a GPU, float32 on a CPU.
    """
    runtime = detect_runtime(device)
    if is_random(checkpoint):
        shape = skeleton(checkpoint, DEMO, "main").config
        adapted = add_random_adapter(random_base(shape, runtime, NONE if merged else NF4))
        processor = load_processor(DEMO, PixelBudget())
    elif merged:
        adapted, processor = _adapted(checkpoint, runtime)
    else:
        return Detector.load(checkpoint, device=device, attention=attention)
    model = adapted.merge_and_unload() if merged else adapted.get_base_model()
    return Detector.around(model, processor, attention=attention)


def _adapted(checkpoint: str, runtime: Runtime) -> tuple[PeftModel, Processor]:
    """An unquantised base with the checkpoint's adapter; ValueError where there is none."""
    source = resolve(checkpoint)
    if source.adapter is None:
        raise ValueError(f"{checkpoint} has no adapter to merge: leave out --merged")
    base = load_base(source.base, runtime, source.revision, NONE)
    return attach(base, source.adapter, "merged"), load_processor(source.adapter)
