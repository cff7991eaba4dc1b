"""Crops as a second look takes them: where they lie, and that their boxes fit."""

from dataclasses import replace

import pytest
import torch

from training.render.camera import lens
from training.render.camera.crops import NEAREST, SIZE, Crop, crop
from training.render.camera.hulls import hulls
from training.render.camera.noise import Noise
from training.render.camera.pool import Pool, read_backgrounds
from training.render.camera.scenes import Camera
from training.render.camera.spots import Spot

COUNT, ASPECT = 2000, 0.75
FRAME = torch.tensor([ASPECT, 1.0])


@pytest.fixture(scope="module")
def spot():
    """Upright faces of scale 0.8 about the middle of their photos."""
    torch.manual_seed(0)
    return Spot(
        torch.eye(2).expand(COUNT, 2, 2),
        torch.zeros(COUNT, 2),
        torch.full((COUNT,), 0.8),
        torch.rand(COUNT, 2) * 0.6 - 0.3,
        torch.full((COUNT,), 0.12),
    )


@pytest.fixture(scope="module")
def half():
    """Of tables 0.2 wide and 0.1 high on the face."""
    return torch.tensor([0.2, 0.1]).expand(COUNT, 2)


def drawn(spot, half, table):
    return crop(Noise("cpu", 0), spot, half, torch.full((COUNT,), table), ASPECT)


def test_a_spot_on_a_crop_by_hand():
    one = Spot(*map(torch.tensor, ([[[1.0, 0], [0, 1]]], [[0.0, 0]], [0.4], [[0.5, 0]], [0.12])))
    cut = Crop(torch.tensor([[0.3, -0.1]]), torch.tensor([0.5]), torch.tensor([True]))
    assert cut.of(one).at.tolist() == [[pytest.approx(0.4), pytest.approx(0.2)]]
    assert cut.of(one).scale.tolist() == [pytest.approx(0.8)]
    assert cut.of(one).tilt.tolist() == [pytest.approx(0.06)], "the same perspective, closer"


def test_a_table_has_the_margin_of_the_second_look(spot, half):
    cut = drawn(spot, half, True)
    near = cut.table
    assert 0.6 < near.float().mean() < 0.8
    filled = (0.8 * half / (cut.half[:, None] * FRAME)).amax(-1)[near]
    assert filled.median() == pytest.approx(2 / 3, abs=0.02), "the crop is 1.5 times the box"
    on_crop = cut.of(spot)
    low, high = (
        on_crop.at - on_crop.scale[:, None] * half,
        on_crop.at + on_crop.scale[:, None] * half,
    )
    whole = ((low > -FRAME) & (high < FRAME)).all(-1)[near]
    assert whole.float().mean() > 0.95


def test_a_crop_next_to_a_table_shows_nothing_of_it(spot, half):
    cut = drawn(spot, half, True)
    gap = (spot.at - cut.middle).abs() - 0.8 * half - cut.half[:, None] * FRAME
    assert (gap.amax(-1)[~cut.table] > 0).all()


def test_a_crop_of_no_table_lies_on_the_photo(spot, half):
    cut = drawn(spot, half, False)
    assert not cut.table.any()
    assert (cut.middle.abs() + cut.half[:, None] * FRAME <= FRAME + 1e-6).all()
    assert cut.half.min() >= SIZE[0] and cut.half.max() <= SIZE[1]
    assert (cut.of(spot).scale <= NEAREST + 1e-6).all()


def test_a_quarter_of_the_crops_is_enlarged_twice_and_a_quarter_four_times():
    torch.manual_seed(0)
    photos = torch.rand(8, 3, 56, 56)
    again = lens.enlarged(photos)
    assert torch.equal(again[:4], photos[:4])
    spread = again.std((1, 2, 3))
    assert (spread[6:] < spread[4:6]).all() and (spread[4:6] < spread[:4].min()).all()
    assert torch.equal(lens.enlarged(photos[:1]), photos[:1])


@pytest.fixture(scope="module")
def pool():
    """A blue face with a red table, and a blue one without, before grey."""
    faces = torch.zeros(2, 6, 384, 384, dtype=torch.uint8)
    faces[:, 2:4] = 255
    faces[0, :3, 96:288, 144:240] = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)
    faces[0, 4, 96:288, 144:240] = 255
    half = torch.tensor([[0.25, 0.5], [1, 1]])
    labels = torch.tensor([[0, -1], [-1, -1]])
    return Pool(faces, labels, torch.zeros(2, 2), half, read_backgrounds(None)[16:17])


def test_boxes_fit_the_tables_on_crops(pool, monkeypatch):
    monkeypatch.setattr(Camera, "_fingers", lambda self, pixels: pixels)
    monkeypatch.setattr(lens, "develop", lambda noise, pixels: pixels)
    scene = Camera(pool, seed=0, crops=1.0).shoot(64, 224, 168)
    red = (scene.pixels[:, 0] > 0.2) & (scene.pixels[:, 1:] < 0.1).all(1)
    shown = ~scene.boxes[:, 0].isnan().any(-1)
    assert 0.2 < shown.float().mean() < 0.5
    assert (scene.boxes[shown, 0] - hulls(red[shown])).abs().max() < 0.03
    assert red[~shown].float().mean((1, 2)).max() < 0.05, "no table is left without a box"


def test_a_share_of_the_photos_is_crops(pool):
    blank = replace(pool, faces=pool.faces * 0)
    shots: list[tuple[str, int]] = []

    class Counting(Camera):
        def _crops(self, count, height, width):
            shots.append(("crops", count))
            return super()._crops(count, height, width)

    scene = Counting(blank, seed=0, crops=0.2).shoot(20, 56, 56)
    assert shots == [("crops", 4)] and len(scene.pixels) == 20
    Counting(blank, seed=0).shoot(20, 56, 56)
    assert len(shots) == 1
