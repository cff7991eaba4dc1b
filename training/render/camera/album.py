"""Photos shown more than once: on a CPU, taking them costs more than learning from them."""

import torch
from torch import Tensor

from training.render.camera.scenes import Camera, Scene


class Album:
    """Shows each photo of a camera about `reuse` times, each time in another light."""

    def __init__(self, camera: Camera, reuse: int, keep: int = 4096):
        self.camera, self.reuse, self.keep = camera, reuse, keep
        self.scenes: dict[tuple[int, int], Scene] = {}

    def shoot(self, count: int, height: int, width: int) -> Scene:
        """`count` photos, of which one in `reuse` is new."""
        new = self.camera.shoot(-(-count // self.reuse), height, width)
        new = Scene((new.pixels * 255).to(torch.uint8), new.boxes, new.labels)
        old = self.scenes.get((height, width), new)
        parts = [
            torch.cat(pair)[-self.keep :] for pair in zip(_parts(old), _parts(new), strict=True)
        ]
        held = self.scenes[height, width] = Scene(*parts)
        pick = torch.randint(len(held.pixels), (count,))
        gain = torch.exp(torch.randn(count, 3, 1, 1) * 0.05 + torch.randn(count, 1, 1, 1) * 0.15)
        pixels = (held.pixels[pick].float() / 255 * gain).clamp(0, 1)
        return Scene(pixels, held.boxes[pick], held.labels[pick])


def _parts(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    return scene.pixels, scene.boxes, scene.labels
