"""Draws boxes onto photos: predicted ones, and true ones where there are any."""

import supervision as sv
from PIL import Image

from nutrition_vl.boxes import LABELS

PREDICTED = sv.Color.from_hex("#e6194b")
TRUE = sv.Color.from_hex("#0b8a3e")


def annotate(
    photo: Image.Image, detections: sv.Detections, truth: sv.Detections | None = None
) -> Image.Image:
    """A copy of the photo with predicted boxes (red, label, score) over the true ones (green)."""
    scene = photo.copy()
    if truth is not None:
        scene = _boxes(scene, truth, TRUE)
    return _labels(_boxes(scene, detections, PREDICTED), detections)


def _boxes(scene: Image.Image, detections: sv.Detections, color: sv.Color) -> Image.Image:
    thickness = max(2, round(min(scene.size) / 200))
    return sv.BoxAnnotator(color=color, thickness=thickness).annotate(scene, detections)


def _labels(scene: Image.Image, detections: sv.Detections) -> Image.Image:
    scale = max(0.4, sv.calculate_optimal_text_scale(scene.size))
    annotator = sv.LabelAnnotator(
        color=PREDICTED,
        text_scale=scale,
        text_thickness=max(1, round(2 * scale)),
        text_padding=round(8 * scale),
        smart_position=True,  # keeps the label of a box at the upper edge in the photo
    )
    return annotator.annotate(scene, detections, labels=_words(detections))


def _words(detections: sv.Detections) -> list[str]:
    if detections.class_id is None or detections.confidence is None:
        return [LABELS[0]] * len(detections)
    scores = zip(detections.class_id, detections.confidence, strict=True)
    return [f"{LABELS[class_id]} {score:.2f}" for class_id, score in scores]
