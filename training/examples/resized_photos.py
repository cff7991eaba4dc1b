"""Resized photos on disk, from the checks that open each photo once to the vision tower."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock

from PIL import Image


class ResizedPhotos:
    """RGB photos by the hash of their file. The file has no name: no kill leaves it behind."""

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 (closed with us)
        self._places: dict[str, tuple[int, tuple[int, int]]] = {}
        self._lock = Lock()

    def add(self, photo_hash: str, photo: Image.Image) -> None:
        """Keeps a photo, from any thread, unless the disk is full."""
        pixels = photo.tobytes()
        with self._lock, suppress(OSError):  # ENOSPC
            start = self._file.seek(0, os.SEEK_END)
            if self._file.write(pixels) == len(pixels):
                self._places[photo_hash] = start, photo.size

    def get(self, photo_hash: str) -> Image.Image | None:
        """The photo, None if it was not kept."""
        if photo_hash not in self._places:
            return None
        start, (width, height) = self._places[photo_hash]
        self._file.seek(start)
        return Image.frombytes("RGB", (width, height), self._file.read(3 * width * height))
