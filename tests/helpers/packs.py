"""A folder of small photos for the batch command, and the answers that `stream` gives to them."""

from pathlib import Path

from nutrition_vl.data.photos import find_photos, open_photo
from nutrition_vl.models.checkpoints import DEMO
from tests.helpers.broken_decoder.sitecustomize import MARK

COLUMNS = ("photo", "width", "height", "boxes", "text")


def draw(folder: Path, count: int, broken: int = 1, deadly: int = 0) -> Path:
    """`count` packs, some files that are no photo and some that end their decoder."""
    folder.mkdir(parents=True)
    packs = sorted((DEMO / "examples").glob("*.jpg"))
    for number in range(count):
        width = 180 + number % 97
        photo = open_photo(packs[number % len(packs)]).resize((width, 240))
        photo.save(folder / f"pack_{number:04d}.jpg")
    for number in range(broken):
        (folder / f"broken_{number}.jpg").write_bytes(b"no photo")
    for number in range(deadly):
        (folder / f"deadly_{number}.jpg").write_bytes(MARK)
    return folder


def streamed(checkpoint: Path, folder: Path) -> dict[str, dict]:
    """The record of every photo in a folder by its name, or the error."""
    from nutrition_vl.detector import Detector

    detector = Detector.load(checkpoint, device="cpu")
    photos = find_photos([folder])
    detections = detector.stream(photos, threshold=0.4)
    return {str(photo): _record(photo, one) for photo, one in zip(photos, detections, strict=True)}


def _record(photo: Path, one) -> dict:
    name = {"photo": str(photo)}
    return name | (one.answer.record(one.photo.size) if one.answer else {"error": str(one.error)})


def comparable(rows: list[dict]) -> list[dict]:
    """What must be equal however the photos were answered, sorted by photo."""
    rows = sorted(rows, key=lambda row: row["photo"])
    return [
        {"photo": row["photo"], "error": row["error"]}
        if "error" in row
        else {name: row[name] for name in COLUMNS}
        for row in rows
    ]
