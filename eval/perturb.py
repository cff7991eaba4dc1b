"""Makes photos worse, and moves their true boxes exactly as the pixels move.

Nothing is random: every model gets the same photos.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

BLUR = 1 / 250  # of the long side, as standard deviation
JPEG_QUALITY = 8
BRIGHTNESS = 0.25
SMALL = 1 / 4  # of each side
FAR = 0.15  # of the height, by which the right edge shrinks at each end
Size = tuple[int, int]


@dataclass(frozen=True)
class Perturbation:
    """A change of an RGB photo, of its size, and of its points.

    `homography` is, from the photo's size before and after, the 3 x 3 matrix that maps points
    (x, y, 1) in pixels.
    """

    apply: Callable[[Image.Image], Image.Image]
    size: Callable[[Size], Size] = lambda size: size
    homography: Callable[[Size, Size], np.ndarray] = lambda before, after: np.eye(3)

    def boxes(self, xyxy: list[list[float]], size: Size) -> list[list[float]]:
        """The boxes of a photo of this size after the change: the smallest upright boxes around
        their four moved corners."""
        matrix = self.homography(size, self.size(size))
        x0, y0, x1, y1 = np.array(xyxy, dtype=float).reshape(-1, 4).T
        corners = np.stack([[x0, x1, x1, x0], [y0, y0, y1, y1], np.ones((4, len(x0)))])
        x, y, scale = np.einsum("ij,jkn->ikn", matrix, corners)
        x, y = x / scale, y / scale
        return np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], axis=1).tolist()


def _turn(size: Size, _: Size) -> np.ndarray:
    """A quarter turn anticlockwise: the right edge becomes the top."""
    return np.array([[0, 1, 0], [-1, 0, size[0]], [0, 0, 1]], dtype=float)


def _shrunk(size: Size) -> Size:
    width, height = size
    return max(1, round(width * SMALL)), max(1, round(height * SMALL))


def _scale(before: Size, after: Size) -> np.ndarray:
    return np.diag([after[0] / before[0], after[1] / before[1], 1.0])


def _oblique(size: Size, _: Size) -> np.ndarray:
    """The homography that keeps the left edge and shrinks the right one by FAR at both ends.

    Lines of sight to the right edge are longer by 1 / (1 - 2 FAR), hence the last row.
    """
    width, height = size
    scale = 1 / (1 - 2 * FAR)
    return np.array(
        [[scale, 0, 0], [scale * FAR * height / width, 1, 0], [(scale - 1) / width, 0, 1]]
    )


def _from_the_side(photo: Image.Image) -> Image.Image:
    back = np.linalg.inv(_oblique(photo.size, photo.size))
    data = (back / back[2, 2]).ravel()[:8]
    return photo.transform(
        photo.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BICUBIC, fillcolor="gray"
    )


def _compressed(photo: Image.Image) -> Image.Image:
    file = BytesIO()
    photo.save(file, "JPEG", quality=JPEG_QUALITY)
    return Image.open(file).convert("RGB")


def _with_glare(photo: Image.Image) -> Image.Image:
    """A lamp's reflection in the middle, a third of the photo wide."""
    width, height = photo.size
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    light = np.exp(-(x**2 + y**2) / (2 * (1 / 3) ** 2))[..., None]
    mixed = np.asarray(photo) * (1 - light) + 255 * light
    return Image.fromarray(mixed.round().astype(np.uint8))


PERTURBATIONS = {
    "rotate90": Perturbation(
        lambda photo: photo.transpose(Image.Transpose.ROTATE_90), lambda size: size[::-1], _turn
    ),
    "blur": Perturbation(
        lambda photo: photo.filter(ImageFilter.GaussianBlur(max(photo.size) * BLUR))
    ),
    "jpeg": Perturbation(_compressed),
    "dark": Perturbation(lambda photo: ImageEnhance.Brightness(photo).enhance(BRIGHTNESS)),
    "glare": Perturbation(_with_glare),
    "small": Perturbation(
        lambda photo: photo.resize(_shrunk(photo.size), Image.Resampling.BOX), _shrunk, _scale
    ),
    "perspective": Perturbation(_from_the_side, homography=_oblique),
}
