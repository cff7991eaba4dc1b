"""Reads YOLO label files, located by Ultralytics' rule, one line per box."""

import math
from dataclasses import replace
from pathlib import Path

from nutrition_vl.data.paths import photo_suffixes, plain, stems_in, swapped
from nutrition_vl.data.rows import Sample, Skipped, read_text, skip

# Class lists that lie next to label files, one name per line.
CLASS_LISTS = ("classes.txt", "obj.names")
OVER = 1.01  # Ultralytics' tolerance for numbers from 0 to 1
FAR, FEW = 0.1, 0.05  # of a side, and of the boxes: more reach out by another meaning, not by slips


def label_files(photos: list[Path]) -> dict[Path, Path]:
    """Per photo its label file: `images` swapped for `labels` in its path, else next to it."""
    folders = {folder for photo in photos for folder in label_folders(photo.parent)}
    texts = {folder: stems_in(folder, (".txt",)) for folder in folders}
    files = {}
    for photo in photos:
        for folder in reversed(label_folders(photo.parent)):
            if same := texts[folder].get(plain(photo.stem)):
                files[photo] = same[0]
    return files


def label_folders(folder: Path) -> list[Path]:
    apart = swapped(folder.absolute(), ("images",), "labels")
    return [apart, folder] if apart else [folder]


def without_doubtful(
    photos: list[Path], labels: dict[Path, Path], skipped: list[Skipped] | None
) -> list[Path]:
    """The photos with a label file; those without only where no label file is left over.

    Names the label files whose photo is missing or of a format that cannot be opened.
    """
    strays = [file for file in _unused(photos, labels) if _is_label_file(file)]
    for stray in strays:
        skip(skipped, stray.name, f"{stray} belongs to no photo that can be read")
    for photo in photos if strays else ():
        if photo not in labels:
            reason = f"has no label file, and {len(strays)} label files belong to no photo"
            skip(skipped, photo.name, f"{photo} {reason}")
    return [photo for photo in photos if photo in labels] if strays else photos


def _unused(photos: list[Path], labels: dict[Path, Path]) -> list[Path]:
    """The text files where label files may lie, but those of photos, of this split or another."""
    used, stems = set(labels.values()), dict[Path, set[str]]()
    for folder in {photo.parent for photo in photos}:
        for place in label_folders(folder):
            stems.setdefault(place, set()).update(stems_in(folder, photo_suffixes()))
    return [
        file
        for place in sorted(stems)
        for stem, files in stems_in(place, (".txt",)).items()
        for file in files
        if file not in used and stem not in stems[place]
    ]


def _is_label_file(file: Path) -> bool:
    if file.name in CLASS_LISTS:
        return False
    try:
        words = read_text(file).split()
        return len(words) >= 5 and all(math.isfinite(float(word)) for word in words[:5])
    except ValueError:
        return False


def read_labels(
    photo: Path, labels: Path | None, names: dict[int, str], base: Sample, pose: bool
) -> Sample:
    lines = read_text(labels).split("\n") if labels else []
    rows = [
        # Key points follow the box in lines of poses.
        _row(line.split()[: 5 if pose else None], names, f"{labels}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    boxes, classes = [box for _, box in rows], [names[number] for number, _ in rows]
    return replace(
        base, id=photo.stem, image=str(photo), xyxy=boxes, labels=classes, file=str(labels or "")
    )


def require_centres(samples: list[Sample], file: Path) -> None:
    """ValueError for boxes that leave their photos as centre and size, but not as they are meant.

    All fit as corners, or all as x, y, width, height, where a few that reach out a little do not.
    """
    first, far, count, forms = "", 0, 0, {"x0, y0, x1, y1", "x, y, width, height"}
    for sample in samples:
        for x0, y0, x1, y1 in sample.xyxy:
            x, y, width, height = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0  # as written
            if width <= x or height <= y:
                forms.discard("x0, y0, x1, y1")
            if x + width > OVER or y + height > OVER:
                forms.discard("x, y, width, height")
            beyond = max(-x0, -y0, x1 - 1, y1 - 1)
            first = first or (sample.id if beyond > OVER - 1 else "")
            far, count = far + (beyond > FAR), count + 1
    if far <= FEW * count:
        forms.discard("x, y, width, height")
    if first and forms:
        raise ValueError(
            f"{file}: boxes (the first of {first}) leave their photos as centre and size, and all"
            f" fit as {' or as '.join(sorted(forms, reverse=True))}: write them as centre, width,"
            " height"
        )


def _row(words: list[str], names: dict[int, str], where: str) -> tuple[int, list[float]]:
    """Class id and box of a line: centre and size, or the points of a polygon."""
    try:
        number, *values = map(float, words)
    except ValueError as error:
        raise ValueError(f"{where}: expected numbers, got {' '.join(words)[:60]}") from error
    if number not in names:
        ids = ", ".join(map(str, sorted(names)))
        raise ValueError(f"{where}: no class has the id {words[0]}: data.yaml names {ids}")
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f"{where}: expected a class and 4 numbers, got {len(words)}")
    if not all(1 - OVER <= value <= OVER for value in values):
        raise ValueError(f"{where}: expected numbers from 0 to 1, got {' '.join(words)[:60]}")
    if len(values) > 4:
        xs, ys = values[::2], values[1::2]
        return int(number), [min(xs), min(ys), max(xs), max(ys)]
    x, y, width, height = values
    return int(number), [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
