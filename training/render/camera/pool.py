"""A pool of rendered faces and background photos, kept as flat arrays that a GPU can hold."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nutrition_vl.boxes import LABELS
from training.render.camera.hulls import hulls
from training.render.faces.faces import face

TABLES = 2  # at most so many tables on one face
SIDE = 384  # pixels of a face's longer side
BACKGROUND_SIDE = 400


@dataclass(frozen=True)
class Pool:
    """`faces` (N, 4 + TABLES, SIDE, SIDE) uint8: colour, alpha, one mask a table; `labels` (N,
    TABLES); `table_centre` and `table_half` (N, 2), centre and half extents of the first table's
    hull (of the pack's if it has none) in -1..1; `backgrounds` (M, 3, BACKGROUND_SIDE,
    BACKGROUND_SIDE) uint8."""

    faces: Tensor
    labels: Tensor
    table_centre: Tensor
    table_half: Tensor
    backgrounds: Tensor

    @property
    def plain(self) -> Tensor:
        """Indices of the faces without any table."""
        return torch.nonzero(self.labels[:, 0] < 0).flatten()

    @property
    def single(self) -> Tensor:
        """Indices of the faces with one table."""
        return torch.nonzero((self.labels[:, 0] >= 0) & (self.labels[:, 1] < 0)).flatten()

    def only(self, faces: Tensor) -> "Pool":
        """The same backgrounds with just these of the faces."""
        kept = {name: rows[faces] for name, rows in vars(self).items() if name != "backgrounds"}
        return replace(self, **kept)

    def to(self, device: str) -> "Pool":
        """The same pool on another device."""
        return Pool(*(getattr(self, field.name).to(device) for field in fields(self)))


def _draw(seed: int, kind: str | None) -> tuple[np.ndarray, list[int]]:
    drawn = face(np.random.default_rng(seed), SIDE, kind)
    canvas = np.zeros((4 + TABLES, SIDE, SIDE), np.uint8)
    width, height = drawn.image.size
    x, y = (SIDE - width) // 2, (SIDE - height) // 2
    area = np.s_[y : y + height, x : x + width]
    canvas[:4][:, *area] = np.asarray(drawn.image).transpose(2, 0, 1)
    tables = np.asarray(drawn.tables)
    for k in range(min(TABLES, len(drawn.labels))):
        canvas[4 + k][area] = (tables == k + 1) * np.uint8(255)
    ids = [LABELS.index(label) for label in drawn.labels[:TABLES]]
    return canvas, ids + [-1] * (TABLES - len(ids))


def draw_faces(
    seeds: Sequence[int], workers: int, kind: str | None = None, file: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Faces (N, 4 + TABLES, SIDE, SIDE) and label ids (N, TABLES; -1 for none), one a seed.

    With a `file` (.npy) the faces lie there and not in memory.
    """
    shape = (len(seeds), 4 + TABLES, SIDE, SIDE)
    labels = np.empty((len(seeds), TABLES), np.int64)
    make = partial(np.lib.format.open_memmap, file, "w+") if file else np.empty
    faces: np.ndarray = make(dtype=np.uint8, shape=shape)
    with ProcessPoolExecutor(workers) as executor:
        drawn = executor.map(partial(_draw, kind=kind), seeds, chunksize=16)
        for i, one in enumerate(tqdm(drawn, "faces", len(seeds), mininterval=5)):
            faces[i], labels[i] = one
    return faces, labels


def store_faces(count: int, workers: int, folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """The files of `count` faces and of their labels; drawn if an earlier call did not finish."""
    folder.mkdir(parents=True, exist_ok=True)
    faces, labels = (folder / f"{name}_{seed}_{count}.npy" for name in ("faces", "labels"))
    if not labels.exists():  # the last to be written
        drawn = draw_faces(range(seed, seed + count), workers, file=faces)
        np.save(labels, drawn[1])
    return faces, labels


def read_backgrounds(folder: Path | None) -> Tensor:
    """Every JPEG of `folder` squeezed square, (M, 3, BACKGROUND_SIDE, BACKGROUND_SIDE) uint8.

    Without a folder, even greys. ValueError where the folder holds no JPEG.
    """
    if folder is None:
        greys = torch.arange(0, 256, 8, dtype=torch.uint8).view(-1, 1, 1, 1)
        return greys.expand(-1, 3, BACKGROUND_SIDE, BACKGROUND_SIDE).contiguous()
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise ValueError(f"there is no .jpg in {folder}: name a folder of photos without tables")
    size = (BACKGROUND_SIDE, BACKGROUND_SIDE)
    photos = [np.asarray(Image.open(file).convert("RGB").resize(size)) for file in files]
    return torch.from_numpy(np.stack(photos).transpose(0, 3, 1, 2).copy())


def make_pool(
    count: int,
    backgrounds: Path | None,
    workers: int = 2,
    seed: int = 0,
    kind: str | None = None,
    store: Path | None = None,
) -> Pool:
    """Renders the faces of `count` seeds from `seed` on and reads the background photos.

    `kind` as in `face`; `store` is a folder to keep the faces in for the next call.
    """
    behind = read_backgrounds(backgrounds)
    if store:
        files = store_faces(count, workers, store, seed)
        faces, labels = np.load(files[0], mmap_mode="c"), np.load(files[1])
    else:
        faces, labels = draw_faces(range(seed, seed + count), workers, kind)
    low, high = _extents(faces, labels).split(2, -1)
    drawn = torch.from_numpy(faces), torch.from_numpy(labels)
    return Pool(*drawn, low + high - 1, high - low, behind)


def _extents(faces: np.ndarray, labels: np.ndarray) -> Tensor:
    """The hull of each face's first table, of the pack where it has none; a thousand at a time."""
    parts = [torch.empty(0, 4)]
    for start in range(0, len(faces), 1000):
        some = np.s_[start : start + 1000]
        masks = np.where(labels[some, :1, None] >= 0, faces[some, 4] > 0, faces[some, 3] > 0)
        parts.append(hulls(torch.from_numpy(masks)))
    return torch.cat(parts)
