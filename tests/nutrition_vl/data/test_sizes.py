"""Sizes in a label file against those of its photo, over the formats that store them."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nutrition_vl.data import load_split
from nutrition_vl.data.photos import open_photo, photo_frame
from nutrition_vl.data.sizes import turn
from tests.helpers.label_sets import BOX, coco, image, mark, photo, read, voc, write

STUDIO = {"info": {"contributor": "Label Studio"}}


def coco_of(folder, size):
    return coco(folder, [image(size=size)])


def voc_of(folder, size):
    voc(folder / "a.xml", size=size)
    return folder


def studio_of(folder, size):
    x0, y0, x1, y1 = (100 * number / size[at % 2] for at, number in enumerate(BOX))
    value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    result = {
        "value": value | {"rectanglelabels": ["nutrition-table"]},
        "original_width": size[0],
        "original_height": size[1],
    }
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": [result]}]}
    return write(folder / "p.json", [task])


FORMATS = pytest.mark.parametrize("label", [coco_of, voc_of, studio_of])


@FORMATS
@pytest.mark.parametrize("scale", [0.5, 2, 3, 1.5])
def test_boxes_of_a_photo_of_another_size_are_scaled(label, scale, tmp_path):
    photo(tmp_path / "a.jpg", (round(200 * scale), round(100 * scale)))
    assert read(label(tmp_path, (200, 100))) == ({"a": [[scale * side for side in BOX]]}, {})


@FORMATS
@pytest.mark.parametrize("size", [(201, 100), (199, 100), (200, 101), (201, 101)])
def test_a_size_that_is_a_pixel_off_is_no_mistake(label, size, tmp_path):
    photo(tmp_path / "a.jpg")
    ((box,),) = read(label(tmp_path, size))[0].values()
    np.testing.assert_allclose(box, BOX, atol=1.2)


@FORMATS
@pytest.mark.parametrize("size", [(100, 200), (100, 100), (300, 100), (640, 640), (50, 100)])
def test_a_photo_of_another_shape_is_refused_with_both_sizes(label, size, tmp_path):
    photo(tmp_path / "a.jpg", size)
    reason = rf"drawn on 200 x 100, and the photo is {size[0]} x {size[1]}"
    with pytest.raises(ValueError, match=reason):
        read(label(tmp_path, (200, 100)))


TURNED = {
    5: [10, 20, 60, 120],
    6: [40, 20, 90, 120],
    7: [40, 80, 90, 180],
    8: [10, 80, 60, 180],
}


@pytest.mark.parametrize("label", [coco_of, voc_of])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("orientation", TURNED)
def test_boxes_drawn_before_turning_are_turned(label, orientation, scale, tmp_path):
    photo(tmp_path / "a.jpg", (200 * scale, 100 * scale), orientation)
    boxes, skipped = read(label(tmp_path, (200, 100)))
    assert boxes == {"a": [[scale * side for side in TURNED[orientation]]]} and not skipped


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_boxes_lie_where_the_photo_shows_them(orientation, tmp_path):
    stored = Image.new("RGB", (200, 100))
    ImageDraw.Draw(stored).rectangle((20, 10, 119, 59), "white")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    frame = photo_frame(tmp_path / "a.png")
    corners = turn(np.array(BOX, dtype=float).reshape(1, 2, 2), frame)
    x0, y0, x1, y1 = np.sort(corners, axis=1).reshape(-1)
    assert open_photo(tmp_path / "a.png").getbbox() == (x0, y0, x1, y1)


@FORMATS
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_upright_photo_stay(label, orientation, tmp_path):
    photo(tmp_path / "a.jpg", (100, 200), orientation)
    assert read(label(tmp_path, (200, 100))) == ({"a": [BOX]}, {})


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_label_studios_unturned_sizes_are_asked_about(orientation, tmp_path):
    photo(tmp_path / "a.jpg", (200, 100), orientation)
    owner = "<owner><name>Label Studio</name></owner>"
    sources = [coco(tmp_path, **STUDIO), studio_of(tmp_path, (200, 100))]
    for source in (*sources, voc(tmp_path / "voc/a.xml", more=owner).parent):
        photo(tmp_path / "voc/a.jpg", (200, 100), orientation)
        with pytest.raises(ValueError, match="200 x 100, and the upright photo is 100 x 200: are"):
            read(source)


# EXIF types: 2 text, 3 SHORT, 5 fraction, 7 bytes, 11 float.
ODD = [(3, 1, struct.pack("<HH", value, 0)) for value in (0, 9, 49, 255, 65535)] + [
    (2, 2, b"6\0\0\0"),
    (7, 1, b"\x06\0\0\0"),
    (7, 4, b"6666"),
    (11, 1, struct.pack("<f", 6.0)),
    (5, 1, struct.pack("<I", 26)),
]


@pytest.mark.parametrize("entry", ODD, ids=str)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_orientation_that_is_none_is_upright_everywhere(entry, suffix, tmp_path):
    kind, count, value = entry
    tag = struct.pack("<HHI", 0x0112, kind, count) + value
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag + bytes(4) + struct.pack("<II", 6, 1)
    stored = Image.new("RGB", (200, 100), "red")
    stored.paste("blue", (0, 0, 100, 100))
    file = tmp_path / f"a.{suffix}"
    stored.save(file, exif=exif)
    assert 0x0112 in Image.open(file).getexif()
    frame = photo_frame(file)
    assert (frame.size, frame.orientation, frame.raw) == ((200, 100), 1, (200, 100))
    upright = open_photo(file)
    assert upright.size == (200, 100) and upright.getpixel((5, 5))[2] > 200
    row = load_split(coco(tmp_path, [image(name=file.name)]))[0]
    assert (row["width"], row["height"], row["image"].size) == (200, 100, (200, 100))
    assert row["xyxy"] == [BOX]


@pytest.mark.parametrize("label", [coco_of, voc_of])
def test_boxes_mostly_outside_the_photo_are_of_another_one(label, tmp_path):
    photo(tmp_path / "a.jpg", (80, 40))
    with pytest.raises(ValueError, match="lies outside the photo of 80 x 40"):
        read(label(tmp_path, (0, 0)))


def test_boxes_that_end_a_little_outside_are_clipped(tmp_path):
    photo(tmp_path / "a.jpg")
    voc(tmp_path / "a.xml", box=[-3, 10, 204, 102])
    assert read(tmp_path) == ({"a": [[0, 10, 200, 100]]}, {})


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_an_upside_down_photo_is_doubtful_where_others_were_drawn_before_turning(
    orientation, tmp_path, caplog
):
    images = [image(1, "a.jpg"), image(2, "b.jpg")]
    file = coco(tmp_path, images, [mark(1), mark(2)])
    photo(tmp_path / "a.jpg", (200, 100), orientation)
    photo(tmp_path / "b.jpg")
    assert read(file) == ({"a": [BOX], "b": [BOX]}, {})
    assert "1 photos are upside down, mirrored" in caplog.text
    photo(tmp_path / "b.jpg", (200, 100), 6)
    boxes, skipped = read(file)
    assert boxes == {"b": [TURNED[6]]} and "remove its orientation tag" in skipped["a"]
    photo(tmp_path / "b.jpg", (100, 200), 6)
    assert read(file)[0] == {"a": [BOX], "b": [BOX]}


@pytest.mark.parametrize("late", [False, True])
def test_a_png_says_its_turn_before_and_behind_its_pixels(late, tmp_path):
    file = photo(tmp_path / "a.png", (200, 100), 6)
    data = file.read_bytes()
    if late:  # as ImageMagick writes it
        start, end = data.index(b"eXIf") - 4, data.index(b"IDAT") - 4
        chunk, stop = data[start:end], data.index(b"IEND") - 4
        data = data[:start] + data[end:stop] + chunk + data[stop:]
        file.write_bytes(data)
    frame = photo_frame(file)
    assert (frame.size, frame.orientation) == ((100, 200), 6) == (open_photo(file).size, 6)


def test_a_large_png_is_not_decoded_for_its_size(tmp_path, monkeypatch):
    photo(tmp_path / "a.png")
    monkeypatch.setattr(
        "PIL.PngImagePlugin.PngImageFile.load", lambda photo: pytest.fail("decoded")
    )
    assert photo_frame(tmp_path / "a.png").size == (200, 100)
