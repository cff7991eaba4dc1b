"""Opens any photo a person may have as one upright RGB picture, or says why it cannot."""

import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from pillow_heif import register_heif_opener

# Four times a phone's 16 megapixels; beyond, one small file could fill the memory.
MAX_PIXELS = 64_000_000
# Pillow reads more, among them EPS, which it hands to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIF")
# What Pillow itself expects of damaged files when it opens them, and what more they raise later.
BROKEN = (
    SyntaxError,
    IndexError,
    TypeError,
    KeyError,
    OverflowError,
    struct.error,
    OSError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True)
class Frame:
    """The size of an upright photo, and the EXIF orientation (1 to 8) that turns it there."""

    size: tuple[int, int]
    orientation: int = 1

    @property
    def sideways(self) -> bool:
        """True where turning swaps width and height."""
        return self.orientation >= 5

    @property
    def raw(self) -> tuple[int, int]:
        """The size before turning."""
        width, height = self.size
        return (height, width) if self.sideways else (width, height)


@dataclass(frozen=True)
class PhotoFile:
    """A photo's file (a path or bytes), decoded when it is used; raises like `open_photo`."""

    source: str | Path | bytes
    name: str | None = None

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright photo."""
        return photo_size(self.source, self.name)

    def open(self, least: tuple[int, int] | None = None) -> Image.Image:
        """The photo as `open_photo` returns it."""
        return open_photo(self.source, self.name, least)


def open_photo(
    source: str | Path | bytes, name: str | None = None, least: tuple[int, int] | None = None
) -> Image.Image:
    """The photo in `source` (a path or a file's bytes): upright, RGB, first frame, in its own size.

    With `least` (width, height), a JPEG is decoded at a half, a quarter or an eighth of its size,
    if that is at least `least`. Transparent parts turn white, 16 bits become 8. Raises ValueError
    for what is no readable photo of at most MAX_PIXELS and FileNotFoundError for a path to nothing,
    calling the photo `name`.
    """
    with _opened(source, name) as photo:
        orientation = _orientation(photo)
        if least:
            photo.draft(None, least[::-1] if orientation >= 5 else least)
        return _rgb(ImageOps.exif_transpose(photo) if orientation > 1 else photo)


def photo_size(source: str | Path | bytes, name: str | None = None) -> tuple[int, int]:
    """Width and height of the upright photo, without decoding it; raises like `open_photo`."""
    return photo_frame(source, name).size


def photo_frame(source: str | Path | bytes, name: str | None = None) -> Frame:
    """The upright size and the orientation, without decoding; raises like `open_photo`."""
    with _opened(source, name) as photo:
        frame = Frame(photo.size, _orientation(photo))
        # Pillow itself turns TIFF, and says so beforehand.
        return frame if photo.format == "TIFF" else Frame(frame.raw, frame.orientation)


def _orientation(photo: Image.Image) -> int:
    """The EXIF orientation; 1, upright, for values outside 1 to 8 and of other types."""
    # Pillow decodes a whole PNG for tags that may follow its pixels, 0.3 s for 12 megapixels.
    early = isinstance(photo, PngImageFile) and not _has_late_tags(photo)
    tags = Image.Image.getexif(photo) if early else photo.getexif()
    value = tags.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def find_photos(places: Sequence[Path]) -> list[Path]:
    """Files as given, folders as the photos anywhere below, sorted; ValueError for one without."""
    photos: list[Path] = []
    for place in places:
        if not place.is_dir():
            photos.append(place)
            continue
        os.listdir(place)  # a folder that may not be read would look empty
        inside = [
            path
            for path in sorted(place.rglob("[!.]*"))  # macOS writes ._pack.jpg next to pack.jpg
            if path.suffix.lower() in photo_suffixes()
            and (path.is_file() or not path.exists())  # a dangling link is named later
        ]
        if not inside:
            raise ValueError(f"there is no photo in {place}: give one of {', '.join(FORMATS)}")
        photos += inside
    return photos


@cache
def photo_suffixes() -> frozenset[str]:
    """The lower-case suffixes of every format that `open_photo` reads."""
    _register_heif()
    suffixes = Image.registered_extensions().items()
    return frozenset(suffix for suffix, format_ in suffixes if format_ in FORMATS)


def _has_late_tags(photo: PngImageFile) -> bool:
    """True where a PNG has chunks of text or EXIF behind its pixels."""
    file = photo.fp
    if file is None:  # decoded already
        return True
    place, late = file.tell(), False
    file.seek(8)
    while len(head := file.read(8)) == 8 and not late:
        late = head[4:] in (b"eXIf", b"iTXt", b"tEXt", b"zTXt") and file.tell() > place
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    file.seek(place)
    return late


@contextmanager
def _opened(source: str | Path | bytes, name: str | None) -> Iterator[Image.Image]:
    name = name or ("the photo" if isinstance(source, bytes) else str(source))
    try:
        if not isinstance(source, bytes) and not Path(source).is_file():
            raise FileNotFoundError(f"there is no photo {name}")
        with _open(source) as photo:
            if photo.width * photo.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield photo
    except Image.DecompressionBombError as error:
        limit = MAX_PIXELS // 1_000_000
        raise ValueError(f"{name} has more than {limit} megapixels: make it smaller") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a photo: give one of {', '.join(FORMATS)}") from error
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise PermissionError(f"{name} may not be read: change its permissions") from error
    except BROKEN as error:
        raise ValueError(
            f"{name} is damaged or incomplete ({error}): copy or save it anew"
        ) from error


@cache
def _register_heif() -> None:
    register_heif_opener()  # iPhones' own format, which Pillow does not read


def _open(source: str | Path | bytes) -> Image.Image:
    stream = BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings():  # MAX_PIXELS is stricter than Pillow's warning
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        _register_heif()
        return Image.open(stream, formats=FORMATS)


def _rgb(photo: Image.Image) -> Image.Image:
    if photo.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip to white
        photo = Image.fromarray((np.asarray(photo).clip(0, 65535) // 256).astype(np.uint8))
    if photo.mode == "F":  # of no fixed range, which Pillow would clip at 255
        values = np.nan_to_num(np.asarray(photo)).clip(min=0)
        top = min((top for top in (1, 255, 65535) if values.max() <= top), default=values.max())
        photo = Image.fromarray((values * (255 / top)).astype(np.uint8))
    if photo.has_transparency_data:
        colour = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour)
    return photo.convert("RGB")
