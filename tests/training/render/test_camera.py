"""Scenes: photos composed in batches, their boxes taken from what is seen."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from training.render.camera import scenes, spots
from training.render.camera.album import Album
from training.render.camera.hulls import hulls
from training.render.camera.noise import Noise
from training.render.camera.pool import TABLES, make_pool
from training.render.camera.scenes import Camera

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    for k, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40, 30), colour).save(folder / f"{k}.jpg")
    return make_pool(24, folder, workers=1)


def test_hulls_by_hand():
    masks = torch.zeros(2, 4, 10, dtype=torch.bool)
    masks[0, 1:3, 2:7] = True
    assert hulls(masks).tolist() == [[pytest.approx(n) for n in (0.2, 0.25, 0.7, 0.75)], [0] * 4]


def test_a_seed_gives_the_same_photos_again(pool):
    first, second = (Camera(pool, seed=3).shoot(4, 56, 84) for _ in range(2))
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.boxes.nan_to_num(-1), second.boxes.nan_to_num(-1))
    other = Camera(pool, seed=4).shoot(4, 56, 84)
    assert not torch.equal(first.pixels, other.pixels)


def test_photos_and_boxes_are_in_range(pool):
    scene = Camera(pool, seed=0).shoot(64, 56, 84)
    assert scene.pixels.shape == (64, 3, 56, 84)
    assert scene.pixels.min() >= 0 and scene.pixels.max() <= 1
    assert scene.boxes.shape == (64, TABLES, 4)
    shown = ~scene.boxes.isnan().any(-1)
    assert (scene.labels[shown] >= 0).all()
    boxes = scene.boxes[shown]
    assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    assert 0.3 < shown[:, 0].float().mean() < 0.8  # half of the photos show a table


def test_a_whole_background_is_hardly_cut_and_never_mirrored(pool):
    side = pool.backgrounds.shape[-1]
    ramp = (torch.arange(side) * 255 // side).to(torch.uint8).expand(1, 3, side, side)
    camera = Camera(replace(pool, backgrounds=ramp), seed=0)
    photos = camera._background(64, side, side, torch.ones(64, dtype=torch.bool))
    spans = photos[:, 0, 0, -1] - photos[:, 0, 0, 0]
    assert (spans > 0.55).all()
    assert 0.1 < (spans > 0.98).float().mean() < 0.6, "a third of them are uncut"


def test_an_album_relights_what_it_kept(pool):
    album = Album(Camera(pool), reuse=4, keep=8)
    for _ in range(5):
        scene = album.shoot(8, 56, 56)
    kept = album.scenes[56, 56]
    assert len(kept.pixels) == 8 and len(scene.pixels) == 8
    boxes = {tuple(box.nan_to_num(-1).flatten().tolist()) for box in kept.boxes}
    assert all(tuple(box.nan_to_num(-1).flatten().tolist()) in boxes for box in scene.boxes)


def test_two_packs_show_a_table_each(pool):
    only = pool.only(pool.single)
    scene = Camera(only, seed=1, paired=1.0).shoot(64, 112, 84)
    shown = ~scene.boxes.isnan().any(-1)
    assert scene.boxes.shape == (64, TABLES, 4)
    assert (scene.labels >= 0).all()
    assert shown.all(-1).float().mean() > 0.6
    both = scene.boxes[shown.all(-1)]
    centre = (both[..., :2] + both[..., 2:]).mean(-1) / 2
    assert (centre[:, 0] - centre[:, 1]).abs().max() > 0.1


def test_a_lying_pack_never_has_an_unlabelled_table(pool):
    camera = Camera(pool, seed=1, paired=0.0)
    behind, paired = camera._behind(camera.noise.choose(len(pool.faces), 200))
    assert not paired.any()
    assert (pool.labels[behind, 0] < 0).all()


def test_a_table_mostly_covered_is_not_asked_for():
    masks, cover = torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    cover[0, :, :1], cover[1, :, :3] = 1, 1
    left = scenes._left(masks, cover)
    assert left.sum((1, 2, 3)).tolist() == [12, 0]


def test_plain_packs_are_photographed_closer(pool):
    """Receipts and fronts are whole photos more often than tables are."""
    aspect, noise = 0.75, Noise("cpu", 0)
    share = {}
    for name, faces in (("plain", pool.plain), ("table", pool.single)):
        chosen = faces[noise.choose(len(faces), 2000)]
        spot = spots.aim(noise, pool, chosen, aspect)
        assert spot.scale.max() <= spots.LARGEST
        share[name] = (spot.scale**2 * pool.table_half[chosen].prod(-1) / aspect).median()
    assert share["plain"] > 1.5 * share["table"]
