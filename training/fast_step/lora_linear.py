"""Frozen linear layers with LoRA adapters, forward and backward written out."""

from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from training.fast_step.kernels import drop, fused


class Projection:
    """A frozen linear layer, in 4 bit or not, and the LoRA adapter on it, if it has one."""

    def __init__(self, module: nn.Module) -> None:
        adapted = isinstance(module, LoraLayer)
        self.base: nn.Module = module.get_base_layer() if adapted else module
        self.parameters: list[nn.Parameter] = []
        self.scale, self.dropout = 0.0, 0.0
        if adapted:
            (name,) = module.active_adapters
            self.parameters = [module.lora_A[name].weight, module.lora_B[name].weight]
            self.scale = module.scaling[name]
            self.dropout = getattr(module.lora_dropout[name], "p", 0.0)

    @property
    def weight(self) -> Tensor:
        """(out, in), dequantised if need be."""
        if isinstance(self.base, Linear4bit):
            packed = self.base.weight
            return dequantize_4bit(packed.data, packed.quant_state)
        return self.base.weight

    def forward(self, states: Tensor, seed: Tensor) -> Tensor:
        """What the layer and its adapter make of (..., in) states; `seed` draws the dropout."""
        result = self.base(states)
        if self.parameters:
            narrow, wide = (weight.to(states.dtype) for weight in self.parameters)
            seen = self._dropped(states, seed)
            result.flatten(0, -2).addmm_(seen.flatten(0, -2) @ narrow.T, wide.T, alpha=self.scale)
        return result

    def backward(
        self, gradient: Tensor, states: Tensor | None, seed: Tensor, into: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradients of (N, in) states, added to `into`, and of the adapter's two matrices."""
        weight = self.weight.to(gradient.dtype)
        result = gradient @ weight if into is None else into.addmm_(gradient, weight)
        if not self.parameters:
            return result, []
        assert states is not None
        narrow, wide = (part.to(gradient.dtype) for part in self.parameters)
        seen = self._dropped(states, seed)
        inner = self.scale * (gradient @ wide)
        gradients = [inner.T @ seen, self.scale * (gradient.T @ (seen @ narrow.T))]
        result += self._dropped(inner @ narrow, seed)
        return result, [part.float() for part in gradients]

    def _dropped(self, states: Tensor, seed: Tensor) -> Tensor:
        """Dropout, the same for the same seed: for the states, and later for their gradient."""
        if not self.dropout:
            return states
        return fused(drop, states.device.type)(states, seed, self.dropout)
