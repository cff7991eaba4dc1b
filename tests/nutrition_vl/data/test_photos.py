"""Every kind of photo a person may have, as a real file."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nutrition_vl.data.photos import MAX_PIXELS, PhotoFile, open_photo, photo_size
from tests.helpers.people import nobody

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def two_halves(left=RED, right=BLUE, mode="RGB", size=(60, 40)):
    photo = Image.new(mode, size, left)
    photo.paste(right, (size[0] // 2, 0, *size))
    return photo


def near(photo, place, colour):
    return np.abs(np.subtract(photo.getpixel(place), colour)).max() <= 12


def noise(width=60, height=40):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(photo, kind, **options):
    stream = io.BytesIO()
    photo.save(stream, kind, **options)
    return stream.getvalue()


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIF"])
def test_formats(kind, tmp_path):
    file = tmp_path / "photo"  # no suffix: contents decide
    two_halves().save(file, kind)
    for source in (file, str(file), file.read_bytes()):
        photo = open_photo(source)
        assert (photo.mode, photo.size, photo_size(source)) == ("RGB", (60, 40), (60, 40))
        assert near(photo, (10, 20), RED)
        assert near(photo, (50, 20), BLUE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (60, 40), (10, 20)),
        (2, (60, 40), (50, 20)),
        (3, (60, 40), (50, 20)),
        (4, (60, 40), (10, 20)),
        (5, (40, 60), (20, 10)),
        (6, (40, 60), (20, 10)),
        (7, (40, 60), (20, 50)),
        (8, (40, 60), (20, 50)),
    ],
)
def test_photos_are_turned_upright(kind, orientation, size, red_at):
    data = encoded(two_halves(), kind, exif=oriented(orientation))
    photo = open_photo(data)
    assert photo.size == photo_size(data) == size
    assert near(photo, red_at, RED)
    assert photo.getexif().get(0x0112, 1) == 1


def test_cmyk():
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert near(open_photo(data), (4, 4), RED)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_cut(kind):
    levels = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16).repeat(4, axis=0)
    photo = open_photo(encoded(Image.fromarray(levels), kind))
    assert [photo.getpixel((x, 0))[0] for x in range(5)] == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_numbers_with_a_point_keep_their_greys(tmp_path, top):
    levels = np.array([[0, 0.25, 0.5, 1]], dtype=np.float32).repeat(3, axis=0) * top
    Image.fromarray(levels).save(tmp_path / "scan.tif")
    photo = open_photo(tmp_path / "scan.tif")
    assert [photo.getpixel((x, 1)) for x in range(4)] == [(v,) * 3 for v in (0, 63, 127, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_pixel_modes(mode):
    assert open_photo(encoded(noise().convert(mode), "PNG")).mode == "RGB"


def test_transparency_turns_white():
    half = two_halves((255, 0, 0, 255), (0, 0, 255, 0), "RGBA")
    photo = open_photo(encoded(half, "PNG"))
    assert (photo.getpixel((10, 20)), photo.getpixel((50, 20))) == (RED, WHITE)


def test_a_palette_with_a_transparent_colour_turns_white():
    data = encoded(
        two_halves().quantize(2), "PNG", transparency=two_halves().quantize(2).getpixel((50, 20))
    )
    photo = open_photo(data)
    assert near(photo, (10, 20), RED)
    assert photo.getpixel((50, 20)) == WHITE


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN, BLUE)]
    for kind in ("GIF", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
        assert near(open_photo(data), (10, 10), RED)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1)])
def test_odd_shapes_stay_as_they_are(size):
    assert open_photo(encoded(Image.new("RGB", size), "PNG")).size == size


def test_a_large_photo_keeps_its_size():
    assert open_photo(encoded(Image.new("L", (8000, 6000)), "JPEG")).size == (8000, 6000)


def bomb(width, height):
    """A PNG of a few bytes that claims to be huge."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("width", [MAX_PIXELS // 1000 + 1, 100_000, 1_000_000, 2_000_000])
@pytest.mark.filterwarnings("error")
def test_gigantic_photos_are_refused_before_they_fill_the_memory(width):
    for look in (open_photo, photo_size):
        with pytest.raises(
            ValueError, match=r"^big\.png has more than 64 megapixels: make it smaller"
        ):
            look(bomb(width, 1000), "big.png")


def test_a_hundred_megapixels_are_refused():
    with pytest.raises(ValueError, match="megapixels"):
        open_photo(encoded(Image.new("1", (10_000, 10_000)), "PNG"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a photo: give one of JPEG, PNG"),
        (b"milk 3.5 % fat\n" * 40, "is not a photo"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a photo"),
        (encoded(noise(), "JPEG")[:-900], "is damaged or incomplete"),
        (encoded(noise(), "PNG")[:2000], "is damaged or incomplete"),
        (encoded(noise(), "WEBP")[:900], "is damaged or incomplete"),
    ],
)
def test_what_cannot_be_read_is_named(data, reason, tmp_path):
    file = tmp_path / "label.jpg"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=reason) as caught:
        open_photo(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^the photo {reason}"):
        open_photo(data)


@pytest.mark.parametrize("look", [open_photo, photo_size])
def test_a_path_to_nothing(look, tmp_path):
    for path in (tmp_path, tmp_path / "none.jpg"):
        with pytest.raises(FileNotFoundError, match="there is no photo"):
            look(path)


@pytest.mark.parametrize("look", [open_photo, photo_size])
def test_a_photo_that_may_not_be_read_is_not_damaged(look, tmp_path):
    file = tmp_path / "secret.png"
    noise().save(file)
    file.chmod(0)
    with nobody(), pytest.raises(PermissionError, match="may not be read: change its"):
        look(file)


def test_a_tiff_whose_pixels_lie_beyond_all_files_is_damaged():
    good = encoded(Image.new("RGB", (60, 40), WHITE), "TIFF")
    entry = struct.pack("<HHI", 273, 4, 1)  # where the pixels are: one number of 4 bytes
    assert entry in good
    bad = good.replace(entry, struct.pack("<HHI", 273, 16, 1))  # of 8, which all are white
    with pytest.raises(ValueError, match=r"^the photo is damaged or incomplete"):
        open_photo(bad)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP"])
def test_damage_of_any_kind_is_a_value_error(kind):
    chance = random.Random(kind)
    good = encoded(noise(), kind)
    for _ in range(60):
        bad = bytearray(good[: chance.randrange(len(good))] if chance.random() < 0.3 else good)
        for _ in range(chance.choice([1, 4, 40])):
            if bad:
                bad[chance.randrange(len(bad))] = chance.randrange(256)
        for look in (open_photo, photo_size):
            try:
                look(bytes(bad))
            except ValueError as error:
                assert str(error).startswith("the photo ")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_decoded_at_a_fraction_that_is_large_enough(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    rows = np.linspace(0, 255, 300)[:, None, None] * [1, 0, 0]
    columns = np.linspace(0, 255, 400)[None, :, None] * [0, 1, 0]
    picture = Image.fromarray((rows + columns).astype(np.uint8))
    picture.save(tmp_path / "a.jpg", quality=95, exif=exif)
    file = PhotoFile(tmp_path / "a.jpg")
    full, (width, height) = file.open(), file.size
    assert full.size == (width, height) == ((300, 400) if orientation > 4 else (400, 300))
    for least, share in (((width // 2, height // 2), 2), ((width // 4, height // 4), 4)):
        small = file.open(least)
        assert small.size == (width // share, height // share)
        same = np.asarray(full.resize(small.size, Image.Resampling.BOX), dtype=int)
        assert np.abs(np.asarray(small, dtype=int) - same).max() <= 4
    assert file.open((width // 2 + 1, height // 2)).size == file.size  # half would be too small


def test_other_formats_are_decoded_in_their_own_size(tmp_path):
    Image.new("RGB", (80, 40), "red").save(tmp_path / "a.png")
    assert PhotoFile(tmp_path / "a.png").open((10, 5)).size == (80, 40)
