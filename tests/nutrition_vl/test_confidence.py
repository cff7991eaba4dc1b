"""Confidence: what a box's first token says, fitted to what became of such boxes."""

import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from nutrition_vl.boxes import make_detections
from nutrition_vl.calibrate import cross_calibrated, main
from nutrition_vl.confidence import (
    CALIBRATION,
    Calibration,
    calibration_error,
    raw_score,
    reliability,
)
from nutrition_vl.data.photos import open_photo
from nutrition_vl.detector import Detector
from nutrition_vl.matching import iou, is_right
from nutrition_vl.models.checkpoints import DEMO


def test_a_box_is_as_sure_as_its_first_token():
    assert raw_score(math.log(0.7)) == pytest.approx(0.7)


def test_without_a_fit_confidence_is_raw_score():
    sure = np.array([0.0, 0.02, 0.5, 0.97, 1.0])
    assert Calibration()(sure) == pytest.approx(sure, abs=2e-6)


def test_equally_sure_boxes_get_their_share_of_right_ones():
    # Three of four right. Platt's targets: 4 / 5 for a right box, 1 / 3 for a wrong one.
    found = Calibration.fit(np.full(4, 0.5), np.array([1, 1, 1, 0]))
    assert found(np.array([0.5]))[0] == pytest.approx((3 * 4 / 5 + 1 / 3) / 4, abs=1e-4)
    assert found.boxes == 4


def test_a_fit_finds_what_made_the_boxes_right():
    chance = np.random.default_rng(0)
    sure = chance.random(20_000)
    share = 1 / (1 + np.exp(-(0.5 * np.log(sure / (1 - sure)) - 1)))
    right = chance.random(20_000) < share
    found = Calibration.fit(sure, right)
    assert (found.slope, found.offset) == (
        pytest.approx(0.5, abs=0.05),
        pytest.approx(-1, abs=0.05),
    )
    assert calibration_error(found(sure), right) < 0.02 < 0.2 < calibration_error(sure, right)


def test_boxes_that_are_all_right_are_never_certain():
    found = Calibration.fit(np.array([0.6, 0.9, 0.99]), np.ones(3))
    assert found(np.array([0.999]))[0] < 1


def test_the_order_of_boxes_stays():
    confidence = Calibration(1.1, -2.3)(np.linspace(0, 1, 50))
    assert (np.diff(confidence[1:-1]) > 0).all()


def test_the_calibration_error_by_hand():
    confidence, right = np.array([0.1, 0.3, 0.9, 0.9]), np.array([0, 1, 1, 0])
    assert reliability(confidence, right) == [
        (1, pytest.approx(0.1), 0.0),
        (1, pytest.approx(0.3), 1.0),
        (2, pytest.approx(0.9), 0.5),
    ]
    assert calibration_error(confidence, right) == pytest.approx((0.1 + 0.7 + 2 * 0.4) / 4)
    assert math.isnan(calibration_error(np.array([]), np.array([])))


def test_a_calibration_is_saved_beside_its_adapter(tmp_path):
    Calibration(1.5, -0.25, 30).save(tmp_path)
    assert Calibration.load(tmp_path) == Calibration(1.5, -0.25, 30)
    assert Calibration.load(tmp_path / "none") == Calibration()


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"slope": "steep"}', '{"gain": 1}', '{"slope": NaN}', '{"offset": -Infinity}'],
)
def test_a_broken_calibration_is_one_sentence(tmp_path, text):
    (tmp_path / CALIBRATION).write_text(text)
    with pytest.raises(ValueError, match=r"calibration\.json is no calibration: fit it again"):
        Calibration.load(tmp_path)


def test_one_box_is_right_for_one_true_box():
    true = make_detections([[0, 0, 100, 100], [200, 0, 300, 100]])
    found = make_detections(
        [[0, 0, 100, 60], [0, 0, 100, 90], [200, 0, 249, 100], [9, 9, 9.5, 9.5]]
    )
    confidence = np.array([0.5, 0.9, 0.8, 0.7])
    assert is_right(iou(true.xyxy, found.xyxy), confidence).tolist() == [False, True, False, False]
    none = make_detections([])
    assert is_right(iou(none.xyxy, found.xyxy), confidence).tolist() == [False] * 4
    assert is_right(iou(true.xyxy, none.xyxy), none.confidence).tolist() == []


@pytest.fixture
def adapter(tmp_path):
    """The demo's, not calibrated."""
    folder = shutil.copytree(DEMO / "adapter", tmp_path / "adapter")
    (folder / CALIBRATION).unlink(missing_ok=True)
    return folder


EXAMPLES = ["--data", str(DEMO / "examples"), "--split", "examples", "--device", "cpu"]


@pytest.mark.slow
def test_the_command_fits_saves_and_checks(adapter, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nutrition_vl.calibrate.LEAST", 4)  # to save time
    command = [*EXAMPLES, "--checkpoint", str(adapter)]
    assert main(command) == 0
    fitted = json.loads(capsys.readouterr().out.splitlines()[-1])
    saved = Calibration.load(adapter)
    assert fitted["photos"] == 6
    assert fitted["boxes"] == saved.boxes > 0
    before = (adapter / CALIBRATION).read_bytes()
    drawn = tmp_path / "pictures" / "reliability.png"
    assert main([*command, "--check", "--draw", str(drawn)]) == 0
    checked = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert checked["boxes"] == fitted["boxes"]
    assert checked["calibration_error_before"] == fitted["calibration_error_before"]
    with Image.open(drawn) as picture:
        assert min(picture.size) > 500
    assert (adapter / CALIBRATION).read_bytes() == before


@pytest.mark.slow
def test_too_few_boxes_leave_a_calibration_as_it_was(adapter, capsys):
    Calibration(1.5, -0.25, 300).save(adapter)
    assert main([*EXAMPLES, "--checkpoint", str(adapter)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("nutrition_vl.calibrate: only 5 boxes were found, on 5 photos: ")
    assert Calibration.load(adapter) == Calibration(1.5, -0.25, 300)


@pytest.mark.parametrize("photos", [np.zeros(30), 2 * np.arange(30) + 1])
def test_a_fit_is_measured_on_photos_it_has_not_seen(photos):
    with pytest.raises(ValueError, match="some on each half of the photos, so give more of them"):
        cross_calibrated(np.full(30, 0.9), np.ones(30, dtype=bool), photos)


@pytest.mark.slow
def test_what_is_detected_is_judged_by_the_calibration(adapter):
    packs = [open_photo(file) for file in sorted((DEMO / "examples").glob("*.jpg"))]
    raw = Detector.load(adapter, device="cpu").detect(packs)
    Calibration(0.5, -1.0).save(adapter)
    judged = Detector.load(adapter, device="cpu").detect(packs)
    assert sum(len(answer.detections) for answer in raw) > 0
    for one, other in zip(raw, judged, strict=True):
        wanted = Calibration(0.5, -1.0)(one.detections.confidence)
        assert other.detections.confidence == pytest.approx(wanted, abs=1e-4)
        assert other.text == one.text


@pytest.mark.parametrize(
    ("checkpoint", "data", "reason"),
    [
        (DEMO, DEMO / "examples", "is a base without an adapter"),
        ("demo", DEMO / "nowhere", "nowhere"),
    ],
)
def test_what_cannot_be_calibrated_is_one_sentence(checkpoint, data, reason, capsys):
    assert main(["--checkpoint", str(checkpoint), "--data", str(data), "--split", "examples"]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert reason in said


def test_a_batch_has_at_least_one_photo(capsys):
    with pytest.raises(SystemExit):
        main([*EXAMPLES, "--batch-size", "0"])
    assert "give a whole number from 1 up, not 0" in capsys.readouterr().err
