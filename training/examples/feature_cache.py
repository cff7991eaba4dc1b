"""Each photo's visual features, computed once and mapped from a file in every epoch.

A frozen vision tower says the same of a photo each time. What it says lies in a folder named after
everything it depends on, so that features of another tower, budget or processor are never used.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm import tqdm
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from nutrition_vl import prompts
from nutrition_vl.files import read_jsonl
from nutrition_vl.models.load import budget_of
from training.examples.examples import said

DATA, INDEX = "features.bin", "index.jsonl"
BATCH = 2  # photos in the tower at once: 0.2 GB of a 7B beside the weights, 0.7 of eight


class Features:
    """The features of photos (tokens, width) by the photo's hash: all that lie in a folder.

    What is added goes to a subfolder of its own, so that runs at one time cannot write over each
    other's, on any file system. There `index.jsonl` says where each photo's rows lie and is written
    after them: what a run has seen until it is killed is there for the next.
    """

    def __init__(self, folder: Path, width: int, dtype: torch.dtype) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.width, self.dtype = folder, width, dtype
        self.data = folder / uuid4().hex[:12] / DATA
        self.index, self.end = self.data.with_name(INDEX), 0
        self.places: dict[str, tuple[Path, dict[str, Any]]] = {
            place["photo"]: (index.with_name(DATA), place)
            for index in sorted(folder.rglob(INDEX))
            for place in read_jsonl(index)
        }
        self._mapped: dict[Path, Tensor] = {}

    def __contains__(self, photo: str) -> bool:
        return photo in self.places

    def __getitem__(self, photo: str) -> tuple[Tensor, Tensor]:
        """Features (tokens, width) and grid (3) of a photo; KeyError if they were not computed."""
        data, place = self.places[photo]
        if data not in self._mapped:
            count = data.stat().st_size // self.dtype.itemsize
            self._mapped[data] = torch.from_file(str(data), size=count, dtype=self.dtype)
        rows = self._mapped[data][place["start"] * self.width : place["end"] * self.width]
        return rows.view(-1, self.width), torch.tensor(place["grid"])

    def add(self, photos: Sequence[str], features: Sequence[Tensor], grids: Tensor) -> None:
        """Appends the features of photos."""
        self.data.parent.mkdir(exist_ok=True)
        self.data.touch()
        with self.data.open("r+b") as file:
            file.seek(self.end * self.width * self.dtype.itemsize)  # over what Ctrl-C left
            for rows in features:
                plain = rows.detach().to("cpu", self.dtype).contiguous()
                file.write(plain.view(torch.uint8).numpy().data)
        with self.index.open("a", encoding="utf-8") as file:
            for photo, rows, grid in zip(photos, features, grids.tolist(), strict=True):
                start, self.end = self.end, self.end + len(rows)
                place = {"photo": photo, "start": start, "end": self.end, "grid": grid}
                file.write(json.dumps(place) + "\n")
                self.places[photo] = self.data, place
        self._mapped.pop(self.data, None)


def open_features(
    folder: Path, model: Qwen2VLForConditionalGeneration, processor: Qwen2VLProcessor
) -> Features:
    """The features that this tower and this processor make, in a folder of their own."""
    facts = {
        "tower": _digest(model.model.visual),
        "dtype": str(model.dtype),
        "processor": processor.image_processor.to_dict(),
    }
    text = json.dumps(facts, indent=2, sort_keys=True, default=str)
    own = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
    features = Features(own, model.config.text_config.hidden_size, model.dtype)
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
    photos: Sequence[str],
    model: Qwen2VLForConditionalGeneration,
    processor: Qwen2VLProcessor,
) -> None:
    """Sees every photo that has not been seen yet; `photos` are the hashes of the rows' photos."""
    missing = list({photo: at for at, photo in enumerate(photos) if photo not in features}.values())
    budget, pictures = budget_of(processor), processor.image_processor
    settings = {"desc": "visual features", "unit": "photo", "disable": not missing}
    with tqdm(total=len(missing), leave=False, **settings) as bar:
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            fitted = [budget.fit(rows[at]["image"], pictures) for at in batch]
            seen = pictures(images=fitted, return_tensors="pt").to(model.model.visual.device)
            grids = seen["image_grid_thw"]
            found = model.get_image_features(seen["pixel_values"], grids).pooler_output
            features.add([photos[at] for at in batch], found, grids)
            bar.update(len(batch))


def to_seen(rows: Dataset, photos: Sequence[str]) -> Dataset:
    """The rows as examples that name their photo's features instead of opening the photo.

    TRL takes a data set for one of photos by its column `images`.
    """
    named = rows.remove_columns("image").add_column("photo", list(photos))
    return named.with_transform(_columns)


def _columns(batch: Mapping) -> dict[str, list]:
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    return {
        "id": batch["id"],
        "prompt": [prompts.ask() for _ in rows],
        "completion": [prompts.answer(said(row)) for row in rows],
        "images": [[] for _ in rows],
        "photo": batch["photo"],
    }
