"""Worse photos: the truth lands where the photo shows it, and nothing is left to chance."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from eval.perturb import PERTURBATIONS

BOX = [60.0, 80.0, 180.0, 200.0]


def panel(size, box):
    """A white panel on black."""
    photo = Image.new("RGB", size)
    x0, y0, x1, y1 = box
    ImageDraw.Draw(photo).rectangle((x0, y0, x1 - 1, y1 - 1), fill="white")
    return photo


def seen(photo):
    """The box around what is brighter than half of the brightest."""
    gray = np.asarray(photo.convert("L")).astype(int)
    rows, columns = np.nonzero(gray * 2 > gray.max())
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("size", [(400, 300), (301, 517)])
@pytest.mark.parametrize("name", sorted(PERTURBATIONS.keys() - {"glare", "perspective"}))
def test_the_truth_moves_with_the_photo(name, size):
    perturbation = PERTURBATIONS[name]
    photo = perturbation.apply(panel(size, BOX))
    assert photo.size == perturbation.size(size)
    (moved,) = perturbation.boxes([BOX], size)
    assert np.abs(np.subtract(seen(photo), moved)).max() <= 1


@pytest.mark.parametrize("size", [(400, 300), (301, 517)])
def test_perspective_moves_corners_where_it_shows_them(size):
    perturbation = PERTURBATIONS["perspective"]
    width, height = size
    for x, y in [(5, 7), (width - 9, 4), (width - 6, height - 8), (3, height - 5), (90, 60)]:
        dot = [x, y, x + 3, y + 3]
        photo = np.asarray(perturbation.apply(panel(size, dot)).convert("L")).astype(float)
        photo[photo == 128] = 0  # what lies beside the photo
        centre = (photo.sum(0) @ np.arange(0.5, width), photo.sum(1) @ np.arange(0.5, height))
        ((x0, y0, x1, y1),) = perturbation.boxes([dot], size)
        expected = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        assert np.abs(np.array(centre) / photo.sum() - expected).max() < 0.5


def test_perspective_by_hand():
    perturbation = PERTURBATIONS["perspective"]
    ((x0, y0, x1, y1),) = perturbation.boxes([[0, 0, 200, 100]], (200, 100))
    assert (x0, y0, x1, y1) == pytest.approx((0, 0, 200, 100))  # the left edge stays as it is
    ((x0, y0, x1, y1),) = perturbation.boxes([[200, 0, 200, 100]], (200, 100))
    assert (x0, y0, x1, y1) == pytest.approx((200, 15, 200, 85))  # the right one shrinks


def test_a_quarter_turn_by_hand():
    (moved,) = PERTURBATIONS["rotate90"].boxes([[10, 20, 30, 60]], (200, 100))
    assert moved == [20, 170, 60, 190]


def test_no_box_stays_no_box():
    assert all(entry.boxes([], (40, 30)) == [] for entry in PERTURBATIONS.values())


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_photo_is_always_spoilt_alike(name, photo):
    first, second = (np.asarray(PERTURBATIONS[name].apply(photo)) for _ in range(2))
    assert (first == second).all()
    assert first.shape != np.asarray(photo).shape or (first != np.asarray(photo)).any()
