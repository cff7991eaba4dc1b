"""Light, lens and sensor: what a camera does to a scene."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.render.camera.noise import Noise


def develop(noise: Noise, pixels: Tensor) -> Tensor:
    """The photos (B, 3, H, W) of scenes, each in a light, a blur and a noise of its own."""
    count, _, height, width = pixels.shape
    pixels = pixels * (1 + 0.25 * noise.smooth(count, 1, 3, height, width)).clamp(0.3, 1.7)
    pixels = pixels + _glare(noise, count, height, width)
    pixels = pixels.clamp(0, 1) ** torch.exp(noise.normal(count, 1, 1, 1) * 0.3)
    light, tint = noise.normal(count, 1, 1, 1), noise.normal(count, 3, 1, 1)
    gain = torch.exp(light * 0.2 + tint * 0.06)
    grey = pixels.mean(1, keepdim=True)
    pixels = torch.lerp(grey, pixels, noise.uniform(0.3, 1.3, count, 1, 1, 1)) * gain
    pixels = _blur(noise, pixels)
    grain = noise.uniform(0, 0.04, count, 1, 1, 1)
    return (pixels + noise.normal(*pixels.shape) * grain).clamp(0, 1)


def enlarged(pixels: Tensor) -> Tensor:
    """The photos as crops of few pixels: half of them sharp, a quarter enlarged twice, the others
    four times."""
    sharp, rest = pixels.tensor_split(2)
    return torch.cat([sharp, *map(_coarse, rest.tensor_split(2), (2, 4))])


def _coarse(pixels: Tensor, factor: int) -> Tensor:
    small = functional.avg_pool2d(pixels, factor)
    return functional.interpolate(small, pixels.shape[-2:], mode="bilinear", align_corners=False)


def _glare(noise: Noise, count: int, height: int, width: int) -> Tensor:
    spots = noise.smooth(count, 1, 6, height, width)
    strength = noise.uniform(-0.6, 0.9, count, 1, 1, 1).clamp_min(0)
    return (spots - 1.2).clamp_min(0) * strength


def _blur(noise: Noise, pixels: Tensor) -> Tensor:
    """A Gaussian per photo, stretched along one direction like a shaken hand."""
    count, channels, height, width = pixels.shape
    radius = 3
    steps = torch.arange(-radius, radius + 1, device=pixels.device).float()
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    angle = noise.uniform(0, math.pi, count, 1, 1)
    wide = noise.uniform(0.1, 1.2, count, 1, 1)
    narrow = wide * noise.uniform(0.4, 1.0, count, 1, 1)
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    kernel = torch.exp(-0.5 * ((u / wide) ** 2 + (v / narrow) ** 2))
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    kernel = kernel[:, None].expand(-1, channels, -1, -1).reshape(-1, 1, *kernel.shape[1:])
    flat = pixels.reshape(1, count * channels, height, width)
    flat = functional.conv2d(flat, kernel, padding=radius, groups=count * channels)
    return flat.view_as(pixels)
