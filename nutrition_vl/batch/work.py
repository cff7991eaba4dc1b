"""The two works on a photo: preparing it, which needs no model, and answering it."""

import io
import pickle
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, cast

import torch
from PIL import Image
from transformers.utils.logging import disable_progress_bar

from nutrition_vl.answer import Detection
from nutrition_vl.batch import places
from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.detector import Detector
from nutrition_vl.looks.crops import crop, crop_name
from nutrition_vl.models.adapters import processor_of

Row = dict[str, Any]


@dataclass(frozen=True)
class StoredPhoto:
    """A photo as its encoded file, decoded only for a crop; it stands in for the picture."""

    name: str
    file: bytes
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """The upright photo's width and height in pixels."""
        return self.width, self.height

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """The part inside a box (left, top, right, bottom)."""
        return open_photo(self.file, self.name).crop(box)


class Prepare:
    """Turns rows with `photo` and `file` into `inputs`, `width` and `height`, or an `error`."""

    def __init__(self, checkpoint: str, adapter: str, dtype: str) -> None:
        torch.set_num_threads(1)
        self.processor, self.dtype = processor_of(checkpoint, adapter), getattr(torch, dtype)

    def __call__(self, rows: list[Row]) -> list[Row]:
        """A row per row."""
        return [*map(self._prepared, rows)]

    def _prepared(self, row: Row) -> Row:
        try:
            photo = open_photo(row["file"], row["photo"])
            inputs = ModelInputs.from_photo(photo, self.processor, self.dtype)
        except (OSError, ValueError) as error:
            return {"error": str(error)}
        inputs = replace(inputs, photo=Image.new("RGB", (1, 1)))  # the answer needs its file alone
        return {"inputs": pickle.dumps(inputs), "width": photo.width, "height": photo.height}


class Answer:
    """Turns prepared rows into records of answers, or an `error`, and saves the tables' crops."""

    def __init__(self, checkpoint: str, adapter: str, threshold: float, crops: str | None) -> None:
        disable_progress_bar()
        self.detector = Detector.load(checkpoint, adapter=adapter)
        self.threshold, self.crops = threshold, crops
        self.margin = self.detector.margin(adapter)

    def __call__(self, rows: list[Row]) -> list[Row]:
        """A record per row."""
        photos = [
            StoredPhoto(row["photo"], row["file"], row["width"], row["height"]) for row in rows
        ]
        inputs = [
            replace(pickle.loads(row["inputs"]), photo=cast(Image.Image, photo))
            for row, photo in zip(rows, photos, strict=True)
        ]
        detections = self.detector.stream(inputs, batch_size=len(rows), threshold=self.threshold)
        return [self._record(*pair) for pair in zip(photos, detections, strict=True)]

    def _record(self, photo: StoredPhoto, detection: Detection) -> Row:
        if detection.answer is None:
            return {"error": str(detection.error)}
        record = detection.answer.record(photo.size)
        if self.crops:
            self._save_crops(photo, record["boxes"])
        return record

    def _save_crops(self, photo: StoredPhoto, boxes: list[Row]) -> None:
        stem = str(PurePosixPath(photo.name).with_suffix("")).lstrip("/").replace("../", "")
        for number, box in enumerate(boxes, 1):
            jpeg = io.BytesIO()
            crop(cast(Image.Image, photo), box["xyxy"], self.margin).save(jpeg, "JPEG", quality=92)
            place = places.join(str(self.crops), crop_name(stem.replace("://", "/"), number))
            places.write(place, jpeg.getvalue())


WORKS = {"prepare": Prepare, "answer": Answer}
