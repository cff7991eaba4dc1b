"""Answers: boxes in pixels with confidence, as JSON, or the error in their place."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import supervision as sv
from PIL import Image

from nutrition_vl.boxes import GRID, LABELS, make_detections
from nutrition_vl.confidence import Calibration, raw_score
from nutrition_vl.decoding.decoded import Decoded
from nutrition_vl.models.pixel_budget import File

SAME_TABLE = 0.5  # IoU from which two boxes mean one table, as in the evaluation


@dataclass(frozen=True)
class Answer:
    """Boxes in pixels of the photo with confidence, the model's text, seconds per photo.

    `malformed` counts boxes in the text that could not be parsed, `overruled` the tokens that the
    grammar changed: with none, the answer is the one without a grammar.
    """

    detections: sv.Detections
    text: str
    malformed: int
    seconds: float
    overruled: int = 0

    @classmethod
    def from_decoded(
        cls,
        decoded: Decoded,
        image_wh: tuple[int, int],
        tokenizer: Any,
        calibration: Calibration,
        seconds: float,
    ) -> Self:
        """Scales boxes to pixels, calibrates confidences and removes duplicates (NMS at 0.5)."""
        corners = np.array([box.refined for box in decoded.boxes]).reshape(-1, 4)
        scores = np.array([raw_score(box.score) for box in decoded.boxes], dtype=np.float32)
        detections = make_detections(
            corners * (np.array([*image_wh, *image_wh]) / GRID),
            [box.label for box in decoded.boxes],
        )
        detections.confidence = calibration(scores)
        ids = [token.id for token in decoded.tokens if token.id != tokenizer.eos_token_id]
        return cls(
            detections.with_nms(SAME_TABLE, class_agnostic=True),
            tokenizer.decode(ids),
            decoded.malformed,
            seconds,
            sum(token.overruled for token in decoded.tokens),
        )

    def above(self, threshold: float) -> Self:
        """The answer with only the boxes of at least this confidence; the text stays."""
        assert self.detections.confidence is not None
        boxes = self.detections[self.detections.confidence >= threshold]
        assert isinstance(boxes, sv.Detections)
        return replace(self, detections=boxes)

    def record(self, image_wh: tuple[int, int]) -> dict[str, Any]:
        """The answer and the photo's size as one JSON object."""
        boxes = self.detections
        assert boxes.class_id is not None and boxes.confidence is not None
        corners = boxes.xyxy.astype(float).round(1)  # float32 would print as 1.2999999523162842
        columns = zip(corners, boxes.class_id, boxes.confidence, strict=True)
        records = [
            {"xyxy": box.tolist(), "label": LABELS[kind], "confidence": round(float(p), 4)}
            for box, kind, p in columns
        ]
        return {
            "width": image_wh[0],
            "height": image_wh[1],
            "boxes": records,
            "text": self.text,
            "seconds": round(self.seconds, 3),
            "overruled": self.overruled,
        }


@dataclass(frozen=True)
class Detection:
    """The answer to one photo or photo file, or the error; `photo` is None if unreadable."""

    photo: Image.Image | File | None
    answer: Answer | None = None
    error: ValueError | OSError | None = None

    @property
    def picture(self) -> Image.Image | None:
        """The photo in its own size: a file is decoded again."""
        if self.photo is None or isinstance(self.photo, Image.Image):
            return self.photo
        return self.photo.open()

    def unwrap(self) -> Answer:
        """The answer; raises the error of a photo without one."""
        if self.error:
            raise self.error
        assert self.answer is not None
        return self.answer
