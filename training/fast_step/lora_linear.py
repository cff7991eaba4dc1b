"""Frozen linear layers with LoRA adapters, forward and backward written by hand.

Replaces bitsandbytes' and PEFT's modules inside the fast layers. Gain, flag, test and
end: see stack.py.
"""

from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from training.fast_step.kernels import drop, fused


class LoraLinear:
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
        """The frozen weight (out, in), dequantised where it is in 4 bit."""
        if isinstance(self.base, Linear4bit):
            packed = self.base.weight
            return dequantize_4bit(packed.data, packed.quant_state)
        return self.base.weight

    def forward(self, states: Tensor, seed: Tensor) -> Tensor:
        """Returns (..., out) for (..., in) states; `seed` decides the dropout."""
        result = self.base(states)
        if self.parameters:
            down, up = (weight.to(states.dtype) for weight in self.parameters)
            inputs = self.drop(states, seed).flatten(0, -2)
            result.flatten(0, -2).addmm_(inputs @ down.T, up.T, alpha=self.scale)
        return result

    def backward(
        self, gradient: Tensor, states: Tensor | None, seed: Tensor, total: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns the gradients by (N, in) states, added to `total`, and by the two matrices.

        A layer without an adapter needs no states.
        """
        weight = self.weight.to(gradient.dtype)
        by_states = gradient @ weight if total is None else total.addmm_(gradient, weight)
        if not self.parameters:
            return by_states, []
        assert states is not None
        down, up = (part.to(gradient.dtype) for part in self.parameters)
        inputs = self.drop(states, seed)
        inner = self.scale * (gradient @ up)
        by_adapter = [inner.T @ inputs, self.scale * (gradient.T @ (inputs @ down.T))]
        by_states += self.drop(inner @ down, seed)
        return by_states, [part.float() for part in by_adapter]

    def drop(self, states: Tensor, seed: Tensor) -> Tensor:
        """Dropout of the states, and with the same seed of their gradient."""
        if not self.dropout:
            return states
        return fused(drop, states.device.type)(states, seed, self.dropout)
