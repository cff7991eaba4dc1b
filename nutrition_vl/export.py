"""Writes answers as JSON lines, CSV, COCO, YOLO or crops of the tables.

python -m nutrition_vl.export answers.jsonl boxes.json --to coco
python -m nutrition_vl.export answers.jsonl crops.zip --to crops
"""

import argparse
import csv
import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nutrition_vl.boxes import LABELS
from nutrition_vl.cli import command, described, file
from nutrition_vl.data.ids import unique
from nutrition_vl.data.paths import stem_inside
from nutrition_vl.data.rows import Skipped, is_box, is_number, read_jsonl, warn_skipped
from nutrition_vl.looks.crops import crop_name, crops

Record = dict[str, Any]
COLUMNS = ["photo", "label", "confidence", "x0", "y0", "x1", "y1"]


def to_jsonl(records: Sequence[Record]) -> bytes:
    """One JSON line per photo, as the command prints them."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def to_csv(records: Sequence[Record]) -> bytes:
    """One line per box; a photo without a box has a line with empty columns."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for record in records:
        boxes = [[box["label"], box["confidence"], *box["xyxy"]] for box in record.get("boxes", [])]
        lines.writerows([record["photo"], *box] for box in boxes or [[""] * 6])
    return text.getvalue().encode(errors="backslashreplace")


def to_coco(records: Sequence[Record]) -> bytes:
    """COCO instances with a `score` per annotation; photos with an error are left out."""
    answered = [record for record in records if "boxes" in record]
    images = [
        {"id": n, "file_name": r["photo"], "width": r["width"], "height": r["height"]}
        for n, r in enumerate(answered, 1)
    ]
    boxes = [(n, box) for n, record in enumerate(answered, 1) for box in record["boxes"]]
    annotations = [
        {"id": n, "image_id": image, "iscrowd": 0, "segmentation": []} | _coco_box(box)
        for n, (image, box) in enumerate(boxes, 1)
    ]
    categories = [{"id": n, "name": label} for n, label in enumerate(LABELS, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(document, indent=1).encode()


def to_yolo(records: Sequence[Record]) -> bytes:
    """A zip of `labels/NAME.txt` (class, centre, size in 0-1) and `data.yaml`.

    ValueError where unlike answers come under one name, as those of a.jpg and a.png.
    """
    names = "".join(f"  {n}: {label}\n" for n, label in enumerate(LABELS))
    members = {"data.yaml": f"path: .\ntrain: images\nval: images\nnames:\n{names}".encode()}
    for record in records:
        if "boxes" in record:
            lines = "".join(_yolo_line(box, record) for box in record["boxes"]).encode()
            name = f"labels/{stem_inside(record['photo'])}.txt"
            if members.setdefault(name, lines) != lines:
                photo = record["photo"]
                raise ValueError(f"{photo} and another photo have one {name}: rename one of them")
    return _zip(members)


def to_crops(records: Sequence[Record], photos: Mapping[str, Path]) -> bytes:
    """A zip with a JPEG per table, cut from the photos, which are files by name."""
    members, stems = {}, unique(stem_inside(record["photo"]) for record in records)
    for record, stem in zip(records, stems, strict=True):
        for number, crop in enumerate(crops(photos[record["photo"]], record), 1):
            picture = io.BytesIO()
            crop.save(picture, "JPEG", quality=92)
            members[crop_name(stem, number)] = picture.getvalue()
    return _zip(members)


FORMATS: dict[str, Callable[[Sequence[Record]], bytes]] = {
    "jsonl": to_jsonl,
    "csv": to_csv,
    "coco": to_coco,
    "yolo": to_yolo,
}
ENDINGS = {"jsonl": "jsonl", "csv": "csv", "coco": "json", "yolo": "zip", "crops": "zip"}


def export(records: Sequence[Record], form: str, photos: Mapping[str, Path]) -> bytes:
    """The records in one of ENDINGS' formats; crops are cut from `photos`, files by name."""
    return to_crops(records, photos) if form == "crops" else FORMATS[form](records)


def _coco_box(box: Record) -> Record:
    x0, y0, x1, y1 = box["xyxy"]
    width, height = round(x1 - x0, 1), round(y1 - y0, 1)
    return {
        "category_id": LABELS.index(box["label"]) + 1,
        "bbox": [x0, y0, width, height],
        "area": round(width * height, 2),
        "score": box["confidence"],
    }


def _yolo_line(box: Record, record: Record) -> str:
    x0, y0, x1, y1 = box["xyxy"]
    width, height = record["width"], record["height"]
    centre = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
    size = ((x1 - x0) / width, (y1 - y0) / height)
    return f"{LABELS.index(box['label'])} {' '.join(f'{n:.6f}' for n in (*centre, *size))}\n"


def _zip(members: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in members.items():
            pack.writestr(name, content)
    return archive.getvalue()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl.export", __doc__)
    options.add_argument("answers", type=Path, help="JSON lines from python -m nutrition_vl")
    options.add_argument("out", type=file, help="the file to write")
    options.add_argument("--to", choices=list(ENDINGS), default="coco", help="default coco")
    options.add_argument(
        "--photos", type=Path, default=Path(), help="where their paths begin (default .)"
    )
    return options


def _records(file: Path) -> tuple[list[Record], list[Skipped]]:
    """The answers in a file, and its lines that are no JSON; ValueError for a file of others."""
    broken: list[Skipped] = []
    records = read_jsonl(file, broken)
    for number, record in enumerate(records, 1):
        if not _is_answer(record):
            raise ValueError(
                f"{file}, entry {number}: expected a photo with boxes or an error, as python -m"
                f" nutrition_vl writes it, got {str(record)[:60]}"
            )
    if broken and not records:
        raise ValueError(f"{file} holds no answer: {broken[0].error}")
    return records, broken


def _is_answer(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("photo"), str):
        return False
    boxes, sides = record.get("boxes"), (record.get("width"), record.get("height"))
    return "error" in record or (
        all(is_number(side) and side > 0 for side in sides)
        and isinstance(boxes, list)
        and all(isinstance(box, dict) and box.get("label") in LABELS for box in boxes)
        and all(is_box(box.get("xyxy")) and is_number(box.get("confidence")) for box in boxes)
    )


def _run(args: argparse.Namespace) -> int:
    if not args.answers.is_file():
        raise FileNotFoundError(f"there is no file {args.answers}: name the command's JSON lines")
    records, broken = _records(args.answers)
    photos = {record["photo"]: args.photos / record["photo"] for record in records}
    args.out.write_bytes(export(records, args.to, photos))
    unread = sum("error" in record for record in records)
    print(f"{args.out}: {len(records) - unread} photos, {unread} without an answer")
    warn_skipped(args.answers, broken, "exported")
    return int(bool(broken))


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
