"""Annotated photos: the boxes are where they should be, whatever the size of the photo."""

import numpy as np
import pytest
from PIL import Image

from nutrition_vl.boxes import LABELS, make_detections
from nutrition_vl.draw import PREDICTED, TRUE, annotate

GREY = (187, 187, 187)


def grey(width, height):
    return Image.new("RGB", (width, height), GREY)


def test_the_photo_itself_stays_as_it_is():
    photo = grey(400, 300)
    drawn = annotate(photo, make_detections([[100, 100, 300, 200]]))
    assert photo.getcolors() == [(400 * 300, GREY)]
    assert (drawn.mode, drawn.size) == ("RGB", photo.size)


def test_what_was_found_is_red_and_the_truth_green():
    found, true = make_detections([[100, 100, 300, 200]]), make_detections([[50, 150, 350, 250]])
    drawn = annotate(grey(400, 300), found, true)
    assert drawn.getpixel((200, 200)) == PREDICTED.as_rgb()
    assert drawn.getpixel((300, 180)) == PREDICTED.as_rgb()
    assert drawn.getpixel((200, 250)) == TRUE.as_rgb()
    assert drawn.getpixel((50, 200)) == TRUE.as_rgb()
    assert drawn.getpixel((200, 180)) == GREY


@pytest.mark.parametrize(("side", "width"), [(300, 3), (1000, 6), (3000, 16)])
def test_lines_grow_with_the_photo(side, width):
    box = [[side * 0.2, side * 0.4, side * 0.8, side * 0.8]]
    column = np.asarray(annotate(grey(side, side), make_detections(box)))[:, side // 2]
    lower = (column[side // 2 :] == PREDICTED.as_rgb()).all(axis=1)
    assert lower.sum() == pytest.approx(width, abs=2)


@pytest.mark.parametrize("box", [[100, 150, 300, 250], [1, 1, 300, 250]])
def test_each_box_carries_its_label(box):
    """White letters, also where the box touches the upper edge of the photo."""
    drawn = annotate(grey(400, 300), make_detections([box], [LABELS[3]], [0.87]))
    assert ((np.asarray(drawn) > 240).all(axis=2)).sum() > 50


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1)])
def test_odd_photos_can_be_drawn_on(size):
    assert annotate(grey(*size), make_detections([[0, 0, *size]])).size == size


def test_nothing_found_draws_nothing():
    assert annotate(grey(40, 30), make_detections([])).tobytes() == grey(40, 30).tobytes()
