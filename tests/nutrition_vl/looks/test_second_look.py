"""The second look: boxes in doubt are detected again on a crop, with the embedded model."""

import numpy as np
import pytest
from PIL import Image

from nutrition_vl.answer import Answer, Detection
from nutrition_vl.boxes import make_detections
from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.looks import second_look
from nutrition_vl.looks.crops import surroundings


def answer(boxes, confidence):
    detections = make_detections(boxes, ["nutrition-table"] * len(boxes))
    detections.confidence = np.array(confidence, dtype=np.float32)
    return Answer(detections, "", 0, 1.0)


def test_surroundings_are_one_and_a_half_times_the_box_and_stay_on_the_photo():
    crop, corner = surroundings(Image.new("RGB", (400, 300)), [100, 100, 200, 180], 0.25)
    assert crop.size == (150, 120) and corner == (75, 80)
    crop, corner = surroundings(Image.new("RGB", (400, 300)), [0, 0, 100, 100], 0.25)
    assert crop.size == (125, 125) and corner == (0, 0)


def test_a_box_in_doubt_needs_its_crop_and_takes_its_edges():
    photo = Image.new("RGB", (400, 300))
    boxes = [[100, 100, 200, 180], [10, 10, 60, 60], [300, 10, 360, 90], [200, 200, 260, 240]]
    first, sizes = answer(boxes, [0.7, 0.6, 0.999, 0.8]), []

    def look(crops):
        sizes.extend(crop.size for crop in crops)
        return [
            Detection(crops[0], answer([[27, 22, 127, 96]], [0.9])),
            Detection(crops[1], answer([[0, 0, 5, 5]], [0.9])),
            Detection(crops[2], answer(np.empty((0, 4)), [])),
        ]

    (confirmed,) = second_look.confirm([Detection(photo, first)], look)
    assert sizes == [(150, 120), (72, 72), (90, 60)], "the certain box is not detected again"
    left = confirmed.answer.detections
    assert left.xyxy.tolist() == [[102, 102, 202, 176], boxes[2], boxes[3]]
    assert left.confidence.tolist() == pytest.approx([0.7, 0.999, 0.8])
    assert confirmed.answer.seconds == 4.0


def test_boxes_below_the_threshold_cost_no_look():
    first = Detection(Image.new("RGB", (90, 90)), answer([[1, 1, 60, 60]], [0.3]))
    assert second_look.confirm([first], pytest.fail, threshold=0.4) == [first]


def test_errors_and_photos_without_boxes_pass_through():
    failed = Detection(None, error=ValueError("no photo"))
    nothing = Detection(Image.new("RGB", (9, 9)), answer(np.empty((0, 4)), []))
    assert second_look.confirm([failed, nothing], pytest.fail) == [failed, nothing]


def test_a_file_that_goes_away_before_its_crop_is_its_own_error(tmp_path):
    Image.new("RGB", (400, 300)).save(tmp_path / "pack.jpg")
    lost = Detection(PhotoFile(tmp_path / "pack.jpg"), answer([[100, 100, 200, 180]], [0.7]))
    (tmp_path / "pack.jpg").unlink()
    photo = Image.new("RGB", (400, 300))
    other = Detection(photo, answer([[100, 100, 200, 180]], [0.7]))
    crop = [Detection(photo, answer([[25, 20, 125, 100]], [0.9]))]
    failed, confirmed = second_look.confirm([lost, other], lambda crops: crop[: len(crops)])
    assert isinstance(failed.error, OSError) and failed.answer is None
    assert confirmed.answer.detections.xyxy.tolist() == [[100, 100, 200, 180]]


def test_the_detector_finds_the_table_again_on_its_crop(demo, table):
    (once,) = demo.detect([table])
    demo.second_look = True
    try:
        (twice,) = demo.detect([table])
    finally:
        demo.second_look = False
    assert len(once.detections) == len(twice.detections) == 1
    assert np.abs(once.detections.xyxy - twice.detections.xyxy).max() < 0.05 * max(table.size)
