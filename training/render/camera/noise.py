"""Random tensors from one seed, on the device where the photos are made."""

import torch
from torch import Tensor
from torch.nn import functional


class Noise:
    """Draws of one generator; each method takes the shape it returns."""

    def __init__(self, device: str, seed: int):
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Evenly between two bounds."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Of mean 0 and spread 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def choose(self, number: int, count: int) -> Tensor:
        """`count` whole numbers below `number`."""
        return torch.randint(number, (count,), generator=self.generator, device=self.device)

    def smooth(self, count: int, channels: int, knots: int, height: int, width: int) -> Tensor:
        """Smooth noise of unit spread with `knots` bumps a side."""
        coarse = self.normal(count, channels, knots, knots)
        small = (4 * knots, 4 * knots)  # bicubic where it is cheap
        bumps = functional.interpolate(coarse, small, mode="bicubic", align_corners=True)
        return functional.interpolate(bumps, (height, width), mode="bilinear", align_corners=True)
