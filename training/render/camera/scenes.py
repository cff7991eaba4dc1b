"""Photos of packs: faces warped, lit and held in front of backgrounds, a whole batch at a time.

Every step is a torch function over `(batch, channels, height, width)`, so that the same code fills
a GPU during pre-training and draws a single picture on a laptop. Boxes come from the warped table
masks and therefore fit after any warp.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.render.camera import lens, spots
from training.render.camera.crops import Crop, crop
from training.render.camera.hulls import hulls
from training.render.camera.noise import Noise
from training.render.camera.pool import Pool
from training.render.camera.spots import Spot

# Width over height of phone photos, and how often each is drawn.
ASPECTS = {3 / 4: 0.6, 9 / 16: 0.1, 1.0: 0.1, 4 / 3: 0.15, 16 / 9: 0.05}
FINER = 2
PAIRED = 0.03
HELD = 0.8  # how often a pack is held; elsewhere at most a plain one lies there
WHOLE = 0.75  # of the photos of no held pack, how many are the photo that stands behind
MIN_SIDE = 0.02  # of the photo; smaller tables cannot be read by anybody


@dataclass(frozen=True)
class Scene:
    """A batch of photos: `pixels` (B, 3, H, W) in 0-1; `boxes` (B, TABLES, 4) x0y0x1y1 in 0-1, NaN
    for none; `labels` (B, TABLES) class ids."""

    pixels: Tensor
    boxes: Tensor
    labels: Tensor


class Camera:
    """Draws scenes from a pool of faces, reproducibly by generator.

    `paired`: share of photos with one table that show a second such pack; `held`: with any face;
    `crops`: share of the photos that are crops, as a second look takes them.
    """

    def __init__(
        self, pool: Pool, device: str = "cpu", seed: int = 0, paired: float = PAIRED,
        held: float = HELD, crops: float = 0.0,
    ):  # fmt: skip
        self.pool, self.device, self.paired, self.held = pool.to(device), device, paired, held
        self.crops, self.plain, self.single = crops, self.pool.plain, self.pool.single
        self.at_most_one = torch.cat([self.single, self.plain])
        self.noise = Noise(device, seed)

    def shoot(self, count: int, height: int, width: int) -> Scene:
        """`count` photos of `height` x `width` pixels, the crops last."""
        crops = round(self.crops * count) if len(self.at_most_one) else 0
        films = ((self._photos, count - crops), (self._crops, crops))
        return joined([shoot(number, height, width) for shoot, number in films if number])

    def _crops(self, count: int, height: int, width: int) -> Scene:
        """Crops around a table, next to one, or of a photo without any."""
        aspect, pool = width / height, self.pool
        held = self.at_most_one[self.noise.choose(len(self.at_most_one), count)]
        visible = self._often(self.held, count)
        spot = spots.aim(self.noise, pool, held, aspect)
        table = visible & (pool.labels[held, 0] >= 0)
        cut = crop(self.noise, spot, pool.table_half[held], table, aspect)
        pixels = self._background(count, height, width, ~visible, cut)
        pixels, _, masks = self._place(pixels, held, cut.of(spot), visible)
        boxes = _visible(masks).masked_fill(~cut.table[:, None, None], float("nan"))
        pixels = lens.develop(self.noise, self._fingers(pixels))
        return Scene(lens.enlarged(pixels), boxes, pool.labels[held])

    def _photos(self, count: int, height: int, width: int) -> Scene:
        aspect = width / height
        held = self.noise.choose(len(self.pool.faces), count)
        behind, paired = self._behind(held)
        visible = paired | self._often(self.held, count)
        whole = ~visible & self._often(WHOLE, count)
        pixels = self._background(count, height, width, whole)
        first, second = spots.pair(self.noise, count, aspect)
        spot = second.otherwise(paired, spots.toss(self.noise, count))
        lying = ~whole & self._often(0.35 if len(self.plain) else 0.0, count)
        pixels, _, others = self._place(pixels, behind, spot, paired | lying)
        spot = first.otherwise(paired, spots.aim(self.noise, self.pool, held, aspect))
        pixels, alpha, masks = self._place(pixels, held, spot, visible)
        boxes, labels = _visible(masks), self.pool.labels[held]
        partner = _visible(_left(others[:, :1], alpha))[:, 0]
        boxes[:, 1] = torch.where(paired[:, None], partner, boxes[:, 1])
        labels[:, 1] = torch.where(paired, self.pool.labels[behind, 0], labels[:, 1])
        return Scene(lens.develop(self.noise, self._fingers(pixels)), boxes, labels)

    def _behind(self, held: Tensor) -> tuple[Tensor, Tensor]:
        """Faces for a second pack, and on which photos it is a partner with one table, as the
        held one then has: elsewhere it has none."""
        count, single = len(held), self.single
        paired = torch.isin(held, single) & self._often(self.paired, count)
        partner = single[self.noise.choose(max(1, len(single)), count)] if len(single) else held
        partner = torch.where(self._often(0.3, count), held, partner)  # two of a kind
        plain = self.plain[self.noise.choose(len(self.plain), count)] if len(self.plain) else held
        return torch.where(paired, partner, plain), paired

    def _often(self, share: float, count: int) -> Tensor:
        return self.noise.uniform(0, 1, count) < share

    # ---- what stands behind ---------------------------------------------------------------------

    def _background(
        self, count: int, height: int, width: int, whole: Tensor, cut: Crop | None = None
    ) -> Tensor:
        chosen = self.noise.choose(len(self.pool.backgrounds), count)
        photos, zoom = self.pool.backgrounds[chosen] / 255, self.noise.uniform(0.25, 1, count, 2)
        zoom = zoom * torch.where(self.noise.uniform(0, 1, count, 1) < 0.5, -1.0, 1.0)
        zoom[:, 1] = zoom[:, 1].abs()
        near = self.noise.uniform(0.6, 1.2, count, 1).clamp_max(1)  # a third of them uncut
        zoom = torch.where(whole[:, None], near, zoom)  # never mirrored: that would give them away
        centre = (1 - zoom.abs()) * self.noise.uniform(-1, 1, count, 2)
        if cut:
            frame = torch.tensor([width / height, 1.0], device=self.device)
            zoom, centre = zoom * cut.half[:, None], centre + zoom * cut.middle / frame
        theta = torch.zeros(count, 2, 3, device=self.device)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom[:, 0], zoom[:, 1], centre
        grid = functional.affine_grid(theta, [count, 3, height, width], align_corners=False)
        photos = functional.grid_sample(photos, grid, "bilinear", "reflection", False)
        shade = self.noise.smooth(count, 3, 3, height, width) * 0.2
        plain = shade + self.noise.uniform(0.05, 1, count, 3, 1, 1)
        bare = ~whole & self._often(0.2, count)
        return torch.where(bare.view(-1, 1, 1, 1), plain.clamp(0, 1), photos)

    # ---- the pack -------------------------------------------------------------------------------

    def _place(
        self, pixels: Tensor, faces: Tensor, spot: Spot, visible: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lays one face over each photo that is to show it; also returns its opacity and masks."""
        count, _, height, width = pixels.shape
        chosen = torch.nonzero(visible).flatten()  # the others cost nothing
        grid, bump = self._warp(spot.only(chosen), height, width)
        colour, alpha, masks = _printed(self.pool.faces[faces[chosen]], grid)
        shade = (1 + bump * self.noise.uniform(0, 0.35, len(chosen), 1, 1, 1)).clamp(0.3, 1.6)
        covered = pixels[chosen] * (1 - alpha) + torch.minimum(colour * shade, alpha)
        whole_alpha, whole_masks = (
            part.new_zeros(count, *part.shape[1:]).index_copy(0, chosen, part)
            for part in (alpha, masks)
        )
        return pixels.index_copy(0, chosen, covered), whole_alpha, whole_masks

    def _warp(self, spot: Spot, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The sampling grid (B, 2, H, W) into the faces and the relief (B, 1, H, W) it implies.

        Before the tilt a place on the face is the sum of a part per column and a part per row: a
        product per pixel took 6 of the camera's 76 ms on an H200.
        """
        count, aspect = len(spot.scale), width / height
        ys = torch.linspace(-1, 1, height, device=self.device)
        xs = torch.linspace(-1, 1, width, device=self.device) * aspect
        origin = torch.einsum("bij,bj->bi", spot.rotation, spot.at)[..., None, None]
        columns = spot.rotation[:, :, :1, None] * xs - origin
        rows = spot.rotation[:, :, 1:, None] * ys[:, None]
        tilt = self.noise.normal(count, 2, 1, 1) * spot.tilt.view(-1, 1, 1, 1)
        depth = (1 + (columns * tilt).sum(1, True) + (rows * tilt).sum(1, True)).clamp_min(0.2)
        face = (columns + rows) / (depth * spot.scale.view(-1, 1, 1, 1)) + spot.centre[
            ..., None, None
        ]
        bump = self.noise.smooth(count, 1, 5, height, width)
        crumple = self.noise.smooth(count, 2, 6, height, width)
        strength = 0.03 * self.noise.uniform(0, 1, count, 1, 1, 1) ** 2
        return self._curve(face, count) + crumple * strength, bump

    def _curve(self, face: Tensor, count: int) -> Tensor:
        """Wraps half of the faces round a cylinder standing or lying."""
        bend = self.noise.uniform(0.3, 0.98, count, 1, 1)
        bend = (bend * (self.noise.uniform(0, 1, count, 1, 1) < 0.5)).clamp_min(1e-3)
        upright = self.noise.uniform(0, 1, count, 1, 1) < 0.8
        x, y = face.unbind(1)
        wrap = torch.asin((x * bend).clamp(-1, 1)) / bend
        roll = torch.asin((y * bend).clamp(-1, 1)) / bend
        outside = torch.where(upright, x, y).abs() * bend > 1
        x = torch.where(upright, wrap, x).masked_fill(outside, 9.0)
        return torch.stack([x, torch.where(upright, y, roll)], 1)

    # ---- what covers it -------------------------------------------------------------------------

    def _fingers(self, pixels: Tensor) -> Tensor:
        """Up to four skin-coloured capsules that reach in from the border of some photos."""
        count, _, height, width = pixels.shape
        side = self.noise.uniform(0, 2 * math.pi, count, 1) + self.noise.normal(count, 4) * 0.35
        reach = self.noise.uniform(0.55, 1.3, count, 4)
        tip = torch.stack([side.cos(), side.sin()], -1) * reach[..., None]
        root = torch.stack([side.cos(), side.sin()], -1) * 2.2
        ys = torch.linspace(-1, 1, height // 2, device=self.device)
        xs = torch.linspace(-1, 1, width // 2, device=self.device)
        point = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)
        along = (root - tip)[:, :, None, None]
        offset = point - tip[:, :, None, None]
        share = ((offset * along).sum(-1) / (along * along).sum(-1)).clamp(0, 1)
        radius = self.noise.uniform(0.07, 0.16, count, 1, 1, 1)
        depth = 1 - (offset - share[..., None] * along).norm(dim=-1) / radius
        depth = depth.amax(1, keepdim=True)
        depth = functional.interpolate(depth, (height, width), mode="bilinear", align_corners=False)
        alpha = (depth * 12).clamp(0, 1) * (self.noise.uniform(0, 1, count, 1, 1, 1) < 0.4)
        tone = torch.tensor([0.80, 0.58, 0.46], device=self.device).view(1, 3, 1, 1)
        skin = tone * self.noise.uniform(0.35, 1.15, count, 1, 1, 1)
        skin = skin + self.noise.normal(count, 3, 1, 1) * 0.04
        skin = skin * (0.65 + 0.4 * depth.clamp(0, 1))
        return torch.lerp(pixels, skin.clamp(0, 1), alpha)


def joined(scenes: Sequence[Scene]) -> Scene:
    """The photos of several scenes of one size."""
    return Scene(*map(torch.cat, zip(*(vars(scene).values() for scene in scenes), strict=True)))


def _printed(faces: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The faces sampled at each place of the grid: colour times opacity, opacity, masks times
    opacity.

    Sampled FINER times as densely and averaged, or small type would turn into noise.
    """
    fine = functional.interpolate(
        grid, scale_factor=FINER, mode="bilinear", align_corners=False
    ).movedim(1, -1)
    faces = faces.float() / 255
    faces[:, :3] *= faces[:, 3:4]
    layer = functional.grid_sample(faces[:, :4], fine, align_corners=False)
    colour, alpha = functional.avg_pool2d(layer, FINER).split([3, 1], 1)
    masks = functional.grid_sample(faces[:, 4:], grid.movedim(1, -1), align_corners=False)
    return colour, alpha, masks * alpha


def _left(masks: Tensor, cover: Tensor) -> Tensor:
    """Masks (B, K, H, W) under a cover of opacity (B, 1, H, W); none of a table less than half
    visible."""
    left = masks * (1 - cover)
    enough = left.sum((2, 3), keepdim=True) >= 0.5 * masks.sum((2, 3), keepdim=True)
    return left * enough


def _visible(masks: Tensor) -> Tensor:
    """Boxes (B, TABLES, 4) of mask channels (B, TABLES, H, W); NaN for those too small to see."""
    boxes = hulls(masks > 0.5)
    small = (boxes[..., 2:] - boxes[..., :2] < MIN_SIDE).any(-1)
    return boxes.masked_fill(small[..., None], float("nan"))
