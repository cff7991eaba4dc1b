"""The two works on a photo: preparing it, which needs no model, and answering it."""

import io
import pickle
from dataclasses import replace
from socket import gethostname
from typing import Any

import torch
from PIL import Image
from transformers.utils.logging import disable_progress_bar

from nutrition_vl.answer import Detection
from nutrition_vl.batch import places
from nutrition_vl.data.paths import stem_inside
from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.detector import Detector
from nutrition_vl.looks.crops import crop, crop_name
from nutrition_vl.models.adapters import processor_of

Row = dict[str, Any]


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
            photo = PhotoFile(row["file"], row["photo"])
            inputs = ModelInputs.from_photo(photo, self.processor, self.dtype)
        except (OSError, ValueError) as error:
            return {"error": str(error)}
        inputs = replace(inputs, photo=Image.new("RGB", (1, 1)))  # the answer needs its file alone
        return {"inputs": pickle.dumps(inputs), "width": photo.size[0], "height": photo.size[1]}


class Answer:
    """Turns prepared rows into records of answers, or an `error`, and saves the tables' crops."""

    def __init__(
        self, checkpoint: str, adapter: str, threshold: float, crops: str | None, device: str
    ) -> None:
        disable_progress_bar()
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"PyTorch has no CUDA GPU on {gethostname()}, where Ray counts one: install PyTorch"
                " for CUDA there, or add --device cpu"
            )
        self.detector = Detector.load(checkpoint, adapter=adapter, device=device)
        self.threshold, self.crops = threshold, crops
        self.margin = self.detector.margin(adapter)

    def __call__(self, rows: list[Row]) -> list[Row]:
        """A record per row."""
        photos = [PhotoFile(row["file"], row["photo"]) for row in rows]
        inputs = [
            replace(pickle.loads(row["inputs"]), photo=photo)
            for row, photo in zip(rows, photos, strict=True)
        ]
        detections = self.detector.stream(inputs, batch_size=len(rows), threshold=self.threshold)
        return [self._record(*pair) for pair in zip(photos, detections, strict=True)]

    def _record(self, photo: PhotoFile, detection: Detection) -> Row:
        if detection.answer is None:
            return {"error": str(detection.error)}
        record = detection.answer.record(photo.size)
        if self.crops and record["boxes"]:
            self._save_crops(photo, record["boxes"])
        return record

    def _save_crops(self, photo: PhotoFile, boxes: list[Row]) -> None:
        stem, picture = stem_inside(str(photo.name)), photo.open()
        for number, box in enumerate(boxes, 1):
            jpeg = io.BytesIO()
            crop(picture, box["xyxy"], self.margin).save(jpeg, "JPEG", quality=92)
            place = places.join(str(self.crops), crop_name(stem, number))
            places.write(place, jpeg.getvalue())


WORKS = {"prepare": Prepare, "answer": Answer}
