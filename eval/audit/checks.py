"""Checks of labelled photos, one function each; findings carry the correction they propose."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from eval.audit.duplicates import near
from nutrition_vl.data.photos import Frame
from nutrition_vl.data.rows import Sample
from nutrition_vl.data.sizes import placed
from nutrition_vl.matching import best_iou, iou

TINY = 0.01  # of the photo's width or height: in a photo of 1000 pixels a line of text is 15 high
SAME = 0.9  # IoU of two boxes of one table
# The least IoU with a prediction after quarter turns, and the least gain over none.
FIT, GAIN = 0.6, 0.3


@dataclass(frozen=True)
class Photo:
    """A labelled photo with its true size and, if there are any, a model's predictions.

    `xyxy` and `predictions` are boxes (n, 4) in shares of the sides of the upright photo, whose
    width and height are `size`.
    """

    split: str
    sample: Sample
    size: tuple[int, int]
    xyxy: np.ndarray
    predictions: np.ndarray | None = None

    @classmethod
    def of(cls, split: str, sample: Sample, frame: Frame, boxes: list[list[float]] | None) -> Self:
        """The photo of a sample; ValueError where its boxes were drawn on another photo."""
        size = frame.size
        xyxy = placed(sample, frame).reshape(-1, 4) / (*size, *size)
        predictions = None if boxes is None else np.array(boxes, dtype=float).reshape(-1, 4)
        return cls(split, sample, size, xyxy, predictions)

    @property
    def id(self) -> str:
        """Its name in result files."""
        return self.sample.id


@dataclass(frozen=True)
class Finding:
    """One suspicious thing in a photo and its correction.

    A correction turns the boxes by quarter turns, drops boxes by index, or leaves the photo out;
    without one a person has to decide.
    """

    check: str
    photo: Photo
    what: str
    turns: int = 0
    drop: tuple[int, ...] = ()
    leave_out: bool = False

    @property
    def proposal(self) -> str:
        """The correction in words, "" for none."""
        if self.leave_out:
            return "leave the photo out"
        if self.turns:
            return f"turn the boxes by {90 * self.turns} degrees"
        return f"drop box {', '.join(map(str, self.drop))}" if self.drop else ""


def turned(photo: Photo) -> Iterator[Finding]:
    """Boxes that a prediction fits only after quarter turns: the photo was stored unturned."""
    predictions = photo.predictions
    if predictions is None or not len(predictions) or not len(photo.xyxy):
        return
    fits = [_fit(turn(photo.xyxy, turns), predictions) for turns in range(4)]
    turns = int(np.argmax(fits))
    if fits[turns] >= max(FIT, fits[0] + GAIN):
        what = (
            f"the prediction fits with IoU {fits[0]:.2f}, and with {fits[turns]:.2f} once the boxes"
            f" are turned by {90 * turns} degrees anticlockwise"
        )
        yield Finding("turned", photo, what, turns=turns)


def stored_size(photo: Photo) -> Iterator[Finding]:
    """Width and height in the data set that are not the photo's."""
    stored, (width, height) = photo.sample.stored_size, photo.size
    if stored and stored != photo.size:
        turned_too = ", turned" if stored == (height, width) else ""
        what = f"stored as {stored[0]} x {stored[1]}, is {width} x {height}{turned_too}"
        yield Finding("stored size", photo, what)


def out_of_range(photo: Photo) -> Iterator[Finding]:
    """Boxes that reach out of the photo by more than a pixel; the loader cuts them."""
    slack = 1 / np.array([*photo.size, *photo.size])
    for index in np.flatnonzero(((photo.xyxy < -slack) | (photo.xyxy > 1 + slack)).any(1)):
        corners = ", ".join(f"{number:.3f}" for number in photo.xyxy[index])
        what = f"box {index} is {corners} (x0, y0, x1, y1 in shares of the sides)"
        yield Finding("out of range", photo, what)


def tiny(photo: Photo) -> Iterator[Finding]:
    """Boxes too small to hold a table; the loader leaves out photos with one without area."""
    sides = photo.xyxy[:, 2:] - photo.xyxy[:, :2]
    for index in np.flatnonzero((sides < TINY).any(1)):
        width, height = sides[index] * photo.size
        what = f"box {index} is {width:.0f} x {height:.0f} pixels"
        yield Finding("tiny", photo, what, drop=(int(index),))


def twice(photo: Photo) -> Iterator[Finding]:
    """Boxes of one table that is labelled twice; the first stays."""
    overlap = np.triu(iou(photo.xyxy, photo.xyxy), 1)
    for index in np.flatnonzero((overlap >= SAME).any(0)):
        first = int(overlap[:, index].argmax())
        what = f"box {index} covers box {first} with IoU {overlap[first, index]:.2f}"
        yield Finding("twice", photo, what, drop=(int(index),))


def leaks(photos: Sequence[Photo], splits: Sequence[str]) -> Iterator[Finding]:
    """Products in two splits; the split named first loses its photos of them."""
    by_product: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_product[photo.sample.product].append(photo)
    for product, those in by_product.items():
        last = max(those, key=lambda photo: splits.index(photo.split))
        for photo in those:
            if product and photo.split != last.split:
                what = f"product {product} is also in {last.split}, as {last.id}"
                yield Finding("same product", photo, what, leave_out=True)


def copies(photos: Sequence[Photo], hashes: np.ndarray, splits: Sequence[str]) -> Iterator[Finding]:
    """Photos that are nearly the same; of two in different splits the one in the first goes."""
    for first, second, bits in near(hashes):
        pair = (photos[first], photos[second])
        gone, stays = sorted(pair, key=lambda photo: splits.index(photo.split))
        what = (
            f"nearly the photo {stays.id} of {stays.split}: {bits} of {hashes.shape[1]} bits differ"
        )
        yield Finding("near-duplicate", gone, what, leave_out=gone.split != stays.split)


CHECKS: tuple[Callable[[Photo], Iterator[Finding]], ...] = (
    turned, stored_size, out_of_range, tiny, twice
)  # fmt: skip


def turn(boxes: np.ndarray, times: int) -> np.ndarray:
    """Boxes in shares of the sides after quarter turns anticlockwise: (x, y) goes to (y, 1 - x)."""
    for _ in range(times):
        x0, y0, x1, y1 = boxes.T
        boxes = np.stack([y0, 1 - x1, y1, 1 - x0], axis=1)
    return boxes


def _fit(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(best_iou(iou(truth, predicted)).mean())
