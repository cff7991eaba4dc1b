"""One model's predictions for a split, joined to the true boxes: the input of every metric."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import supervision as sv

from nutrition_vl.boxes import make_detections
from nutrition_vl.data.paths import posix

if TYPE_CHECKING:  # it takes seconds, which scoring files need not wait for
    from datasets import Dataset


@dataclass(frozen=True)
class Truth:
    """A photo of the split with its true boxes, in pixels (or all in shares of the sides)."""

    id: str
    width: float
    height: float
    xyxy: list[list[float]]
    labels: list[str]


@dataclass(frozen=True)
class Prediction:
    """Predicted boxes of one photo; `photo` is its name in the file, `where` the file and line.

    `size` is the width and height that the file states for the photo, None where it states none.
    """

    photo: str
    xyxy: list[list[float]]
    labels: list[str]
    confidence: list[float]
    where: str
    malformed: int = 0
    seconds: float = np.nan
    size: tuple[float, float] | None = None
    text: str = ""


@dataclass(frozen=True)
class Answers:
    """True and predicted boxes of a whole split, each in one `sv.Detections`, photo after photo.

    `data["photo"]` of a box is the index of its photo in `ids`; sizes are (photos, 2); `differs`
    lists settings that differ from the checkpoint's card.
    """

    name: str
    ids: list[str]
    sizes: np.ndarray
    truth: sv.Detections
    predictions: sv.Detections
    malformed: np.ndarray
    seconds: np.ndarray
    texts: list[str]
    differs: tuple[str, ...] = ()

    def of_label(self, class_id: int) -> "Answers":
        """The same photos with only the boxes of one label."""
        truth, predictions = self.truth, self.predictions
        return replace(
            self,
            truth=select(truth, truth.class_id == class_id),
            predictions=select(predictions, predictions.class_id == class_id),
        )

    def above(self, threshold: float) -> "Answers":
        """The same photos with only the predictions of at least this confidence."""
        confident = np.asarray(self.predictions.confidence) >= threshold
        return replace(self, predictions=select(self.predictions, confident))

    def boxes_of(self, photo: int) -> tuple[sv.Detections, sv.Detections]:
        """The true and the predicted boxes of the photo with this index."""
        truth, predictions = self.truth, self.predictions
        return (
            select(truth, truth.data["photo"] == photo),
            select(predictions, predictions.data["photo"] == photo),
        )

    def shares(self, boxes: sv.Detections) -> list[list[list[float]]]:
        """Boxes of each photo, true or predicted, in shares of its sides, to six digits."""
        photo = boxes.data["photo"]
        inside = (boxes.xyxy / np.tile(self.sizes[photo], 2)).round(6)
        starts = np.searchsorted(photo, np.arange(1, len(self.ids)))
        return [of_photo.tolist() for of_photo in np.split(inside, starts)]


def select(boxes: sv.Detections, mask: np.ndarray | bool) -> sv.Detections:
    """The boxes where the mask is true."""
    chosen = boxes[np.asarray(mask)]
    assert isinstance(chosen, sv.Detections)
    return chosen


def truth_of(rows: "Dataset") -> list[Truth]:
    """The truth in the rows of `nutrition_vl.data.load_split`; no photo is decoded."""
    return [
        Truth(row["id"], row["width"], row["height"], row["xyxy"], row["label"])
        for row in rows.remove_columns("image")
    ]


def join(
    name: str,
    truths: Sequence[Truth],
    predictions: Iterable[Prediction],
    split_ids: Collection[str] = (),
) -> Answers:
    """Joins predictions to the truth by photo, in the order of `truths`.

    Where `truths` are only a part of a split, `split_ids` names all its photos: predictions for
    the others are left out. ValueError, in one sentence, for photos that are unknown, missing or
    listed twice.
    """
    if not truths:
        raise ValueError("the split is empty: there is no photo to score")
    photos = {truth.id: truth for truth in truths}
    by_id: dict[str, Prediction] = {}
    for entry in predictions:
        photo = match_id(entry.photo, split_ids or photos)
        if photo is None:
            raise ValueError(f"{entry.where}: photo {entry.photo} is not in the split")
        if photo not in photos:
            continue
        _require_size(entry, photos[photo])
        if photo in by_id:
            first = by_id[photo].where
            raise ValueError(f"{entry.where}: photo {photo} is there twice, first in {first}")
        by_id[photo] = entry
    _require_all(name, photos, by_id)
    return _gather(name, truths, [by_id[truth.id] for truth in truths])


def match_id(name: str, ids: Collection[str]) -> str | None:
    """The id that a name stands for: itself, or its file name with or without the ending."""
    path = Path(posix(name))
    return next((name for name in (name, path.name, path.stem) if name in ids), None)


def _require_all(name: str, photos: Collection[str], predicted: Collection[str]) -> None:
    missing = [photo for photo in photos if photo not in predicted]
    if missing:
        listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ValueError(
            f"{name}: {len(missing)} of the split's {len(photos)} photos are missing ({listed});"
            ' a photo without detections still needs a line with "boxes": []'
        )


def _require_size(entry: Prediction, photo: Truth) -> None:
    if entry.size is not None and entry.size != (photo.width, photo.height):
        raise ValueError(
            f"{entry.where}: photo {photo.id} is {_size(entry.size)} there,"
            f" but {_size((photo.width, photo.height))} in the split: give boxes in its pixels"
        )


def _size(wh: tuple[float, float]) -> str:
    return f"{wh[0]:g} x {wh[1]:g}"


def _gather(name: str, truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Answers:
    return Answers(
        name=name,
        ids=[truth.id for truth in truths],
        sizes=np.array([(truth.width, truth.height) for truth in truths], dtype=float),
        truth=_flat([truth.xyxy for truth in truths], [truth.labels for truth in truths]),
        predictions=_flat(
            [entry.xyxy for entry in predictions],
            [entry.labels for entry in predictions],
            [score for entry in predictions for score in entry.confidence],
        ),
        malformed=np.array([entry.malformed for entry in predictions]),
        seconds=np.array([entry.seconds for entry in predictions], dtype=float),
        texts=[entry.text for entry in predictions],
    )


def _flat(
    xyxy: list[list[list[float]]], labels: list[list[str]], confidence: list[float] | None = None
) -> sv.Detections:
    boxes = make_detections(
        [box for of_photo in xyxy for box in of_photo],
        [label for of_photo in labels for label in of_photo],
        confidence,
    )
    # As precisely as the file has them: float32 would decide close calls at an IoU threshold.
    boxes.xyxy = np.array([box for of_photo in xyxy for box in of_photo], float).reshape(-1, 4)
    if confidence is not None:
        boxes.confidence = np.array(confidence, dtype=float)
    boxes.data["photo"] = np.repeat(np.arange(len(xyxy)), [len(of_photo) for of_photo in xyxy])
    return boxes
