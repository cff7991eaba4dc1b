"""Each photo's visual features, computed once and mapped from a file in every epoch.

A frozen vision tower gives the same features for a photo each time. They lie in a folder named
after everything they depend on, so that those of another tower, budget or processor are never used.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm import tqdm

from nutrition_vl.data.sources import photo_file, undecoded
from nutrition_vl.files import read_jsonl
from nutrition_vl.models.family import Model, Processor
from nutrition_vl.models.pixel_budget import SPARE, budget_of
from training.examples.examples import PHOTO
from training.examples.resized_photos import ResizedPhotos

FORMAT = 2  # of the files below
DATA, INDEX = "features.bin", "index.jsonl"
BATCH = 2  # photos in the tower at once: 0.2 GB of a 7B next to the weights, 0.7 of eight

logger = logging.getLogger(__name__)


class Features:
    """The features of photos (tokens, width) by the photo's hash: all blocks in a folder.

    New blocks go to a subfolder of their own, so that concurrent runs cannot overwrite each
    other's, on any file system. Its `index.jsonl` has one line per block, written after the block:
    a killed run leaves its finished blocks to the next.
    """

    def __init__(self, folder: Path, width: int, dtype: torch.dtype, merge_size: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.width, self.dtype, self.merge_size = folder, width, dtype, merge_size
        self.data = folder / uuid4().hex[:12] / DATA
        self.index, self.end = self.data.with_name(INDEX), 0
        indices = sorted(folder.rglob(INDEX), key=lambda index: index.stat().st_mtime)
        self.blocks: dict[str, tuple[Path, dict[str, Any]]] = {
            block["photo"]: (index.with_name(DATA), block)
            for index in indices  # of two blocks of a photo the later one
            for block in read_jsonl(index)
        }
        self._mapped: dict[Path, Tensor] = {}

    def __contains__(self, photo: str) -> bool:
        return photo in self.blocks

    def __getitem__(self, photo: str) -> tuple[Tensor, Tensor]:
        """Features (tokens, width) and grid (3) of a photo; KeyError if they were not computed."""
        data, block = self.blocks[photo]
        if data not in self._mapped:
            count = data.stat().st_size // self.dtype.itemsize
            self._mapped[data] = torch.from_file(str(data), size=count, dtype=self.dtype)
        rows = self._mapped[data][block["start"] * self.width : block["end"] * self.width]
        return rows.view(-1, self.width), torch.tensor(block["grid"])

    def add(self, photos: Sequence[str], features: Sequence[Tensor], grids: Tensor) -> None:
        """Appends the features of photos; OSError names the folder of a full disk."""
        try:
            self._append(photos, features, grids)
        except OSError as error:
            raise OSError(
                f"visual features cannot be written to {self.folder} ({error}): make room there, "
                "name another --features_dir or use --cache_features False"
            ) from error

    def _append(self, photos: Sequence[str], features: Sequence[Tensor], grids: Tensor) -> None:
        self.data.parent.mkdir(exist_ok=True)
        self.data.touch()
        plain = [rows.detach().to("cpu", self.dtype).contiguous() for rows in features]
        with self.data.open("r+b") as file:
            file.seek(self.end * self.width * self.dtype.itemsize)  # over a half-written block
            for rows in plain:
                file.write(_bytes(rows))
        with self.index.open("a", encoding="utf-8") as file:
            for photo, rows, grid in zip(photos, plain, grids.tolist(), strict=True):
                start, self.end = self.end, self.end + len(rows)
                block = {"photo": photo, "start": start, "end": self.end, "grid": grid}
                block["crc32"] = crc32(_bytes(rows))
                file.write(json.dumps(block) + "\n")
                self.blocks[photo] = self.data, block
        self._mapped.pop(self.data, None)

    def drop_damaged(self, photos: Iterable[str]) -> dict[str, str]:
        """Drops the blocks of these photos that cannot be used; returns the reasons by photo."""
        reasons = {photo: self._damage(photo) for photo in {*photos} if photo in self}
        damaged = {photo: reason for photo, reason in reasons.items() if reason}
        for photo in damaged:
            del self.blocks[photo]
        return damaged

    def _damage(self, photo: str) -> str:
        """How the block differs from its line in the index; empty if it does not."""
        data, block = self.blocks[photo]
        try:
            start, end, grid, checksum = (block[key] for key in ("start", "end", "grid", "crc32"))
            if (end - start) * self.merge_size**2 != grid[0] * grid[1] * grid[2]:
                return "not as many as the photo has tokens"
            if not data.exists() or data.stat().st_size < end * self.width * self.dtype.itemsize:
                return "truncated"
        except (KeyError, TypeError, IndexError):
            return "indexed by a damaged line"
        rows, _ = self[photo]
        if crc32(_bytes(rows)) != checksum:
            return "damaged"
        return "" if rows.isfinite().all() else "not finite"


def _bytes(rows: Tensor) -> memoryview:
    return rows.view(torch.uint8).numpy().data


def open_features(folder: Path, model: Model, processor: Processor) -> Features:
    """The features that this tower and this processor make, in a folder of their own."""
    facts = {
        "format": FORMAT,
        "tower": _digest(model.model.visual),
        "dtype": str(model.dtype),
        "processor": processor.image_processor.to_dict(),
        "decoding": f"JPEGs at {SPARE} times the size or more",
    }
    text = json.dumps(facts, indent=2, sort_keys=True, default=str)
    own = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
    width, merge_size = model.config.text_config.hidden_size, processor.image_processor.merge_size
    features = Features(own, width, model.dtype, merge_size)
    (own / "made_by.json").write_text(text + "\n", encoding="utf-8")
    return features


def _digest(tower: nn.Module) -> list[int]:
    """Two sums over the bits of each weight, plain and by position, taken where they lie."""
    sums = []
    for weight in tower.state_dict().values():
        whole = torch.int32 if weight.dtype.itemsize == 4 else torch.int16
        bits = weight.detach().flatten().view(whole).long()
        places = torch.arange(1, len(bits) + 1, device=bits.device)
        sums += [bits.sum().item(), bits.mul_(places).sum().item()]
    return sums


@torch.inference_mode()
def compute(
    features: Features,
    rows: Dataset,
    model: Model,
    processor: Processor,
    resized: ResizedPhotos | None = None,
) -> None:
    """Computes the features that are missing or damaged; `rows` have their photos' hashes.

    Photos come from `resized` where they are there. FloatingPointError names a photo whose features
    are not finite.
    """
    _report(features.drop_damaged(rows[PHOTO]), rows)
    missing = list({one: at for at, one in enumerate(rows[PHOTO]) if one not in features}.values())
    settings = {"desc": "visual features", "unit": "photo", "disable": not missing}
    with tqdm(total=len(missing), leave=False, **settings) as bar:
        for start in range(0, len(missing), BATCH):
            batch = rows.select(missing[start : start + BATCH])
            vectors, grids = _encode(batch, model, processor, resized)
            features.add(batch[PHOTO], vectors, grids)
            bar.update(len(batch))


def _encode(
    rows: Dataset,
    model: Model,
    processor: Processor,
    resized: ResizedPhotos | None,
) -> tuple[Sequence[Tensor], Tensor]:
    """Each photo's features (tokens, width), and all grids (photos, 3)."""
    pictures, budget = processor.image_processor, budget_of(processor)
    photos = [resized.get(one) if resized else None for one in rows[PHOTO]]
    files = [photo_file(image) for image in undecoded(rows)["image"]]
    photos = [photo or budget.fit(files[at], pictures) for at, photo in enumerate(photos)]
    inputs = pictures(images=photos, return_tensors="pt").to(model.model.visual.device)
    grids = inputs["image_grid_thw"]
    features = model.get_image_features(inputs["pixel_values"], grids).pooler_output
    for name, one in zip(rows["id"], features, strict=True):
        if not one.isfinite().all():
            raise FloatingPointError(
                f"the vision tower gives numbers for {name} that are not finite: leave that photo "
                "out, or check the base's weights"
            )
    return features, grids


def _report(damaged: dict[str, str], rows: Dataset) -> None:
    """Names the photos whose features have to be computed again."""
    names = dict(zip(rows[PHOTO], rows["id"], strict=True))
    for name, reason in sorted((names[photo], reason) for photo, reason in damaged.items()):
        logger.warning("the cached features of %s are %s: computing them again", name, reason)
