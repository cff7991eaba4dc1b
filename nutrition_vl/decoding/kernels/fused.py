"""The modules of one model that kernels of ours compute, on a CPU or a GPU."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from torch import Tensor, nn

from nutrition_vl.decoding.kernels.cpu_matmul import replaced, unpacked_layers
from nutrition_vl.models.family import Model

Forwards = Mapping[nn.Module, Callable[[Tensor], Tensor]]


class Fused:
    """Searches the modules once, which takes 7 ms of a 7B, and adapters at their first use.

    Triton is imported for a model on a GPU alone, where it is installed (not on Windows).
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.triton = model.device.type == "cuda" and find_spec("triton") is not None
        self.forwards: Forwards = unpacked_layers(model)
        self.adapters: dict[str, Forwards] = {}
        if self.triton:
            from nutrition_vl.decoding.kernels.gpu_elementwise import fused_modules

            self.forwards = fused_modules(model)

    @contextmanager
    def running(self, adapter: str) -> Iterator[None]:
        """Runs the kernels while the adapter of this name is in use."""
        if not self.triton:
            with replaced(self.forwards):
                yield
            return
        from nutrition_vl.decoding.kernels.gpu_elementwise import fused_rotations
        from nutrition_vl.decoding.kernels.gpu_lora import lora_layers

        if adapter not in self.adapters:
            self.adapters[adapter] = lora_layers(self.model)
        with fused_rotations(self.model), replaced({**self.forwards, **self.adapters[adapter]}):
            yield
