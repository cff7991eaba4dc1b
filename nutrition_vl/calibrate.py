"""Makes an adapter's confidences mean what they say, on labelled photos it was not trained on.

examples:
  python -m training.render --count 800 --out rendered --split val --seed 5000000
  python -m nutrition_vl.calibrate --data rendered
  python -m nutrition_vl.calibrate --checkpoint runs/qlora --data photos/ --split dev --check

A box is right if it is the one for a true box that it covers at an IoU of 0.5. How often boxes are
right is fitted to what the model thinks of them, and saved beside the adapter as calibration.json,
which every later detection reads. How well that works is measured on the half of the photos that a
fit has not seen. With --check nothing is fitted or written: it tells how good the saved calibration
is on other photos. The last line on stdout is one JSON object.
"""

import argparse
import json
import sys
from typing import Any

import numpy as np
import supervision as sv
from datasets import Dataset
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from nutrition_vl.checkpoints import resolve
from nutrition_vl.command import described, quiet
from nutrition_vl.confidence import Calibration, calibration_error, reliability
from nutrition_vl.data import load_split, truth
from nutrition_vl.detector import Detector

IOU = 0.5


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args = parser().parse_args(argv)
    try:
        with quiet():
            found = calibrate(args)
    except (OSError, ValueError) as error:
        print(f"nutrition_vl.calibrate: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl.calibrate", __doc__)
    add = options.add_argument
    add("--checkpoint", default="demo", help="demo, a run or a checkpoint folder (default demo)")
    add("--data", required=True, metavar="SOURCE", help="folder, file or hub id of labelled photos")
    add("--split", default="val", help="default val")
    add("--batch-size", type=int, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--check", action="store_true", help="only tell how good the saved calibration is")
    return options


def calibrate(args: argparse.Namespace) -> dict[str, Any]:
    """Fits and saves, or checks; what is to be told of it."""
    folder = resolve(args.checkpoint).adapter
    if folder is None:
        raise ValueError(f"{args.checkpoint} is a base without an adapter to calibrate")
    rows = load_split(args.data, args.split)
    detector = Detector.load(args.checkpoint, device=args.device)
    if not args.check:
        detector.calibrate(Calibration())
    sure, right, photos = judge(detector, rows, args.batch_size)
    if not len(sure):
        raise ValueError(f"no box was found on the {len(rows)} photos: nothing can be learnt of it")
    if args.check:
        return told(len(rows), sure, right)
    Calibration.fit(sure, right).save(folder)
    print(f"saved beside the adapter in {folder}")
    return told(len(rows), crossed(sure, right, photos), right, before=sure)


def judge(
    detector: Detector, rows: Dataset, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence of every box that is found, whether it is right, and on which row."""
    sure, right, photos = [], [], []
    images = (row["image"] for row in rows)
    answers = tqdm(detector.stream(images, batch_size=batch_size), total=len(rows), unit="photo")
    facts = rows.remove_columns("image")
    for number, (found, row) in enumerate(zip(answers, facts, strict=True)):
        if isinstance(found, Exception):
            raise found
        boxes = found[1].detections
        sure += [boxes.confidence]
        right += [is_right(boxes, truth(row))]
        photos += [np.full(len(boxes), number)]
    return np.concatenate(sure), np.concatenate(right), np.concatenate(photos)


def is_right(found: sv.Detections, true: sv.Detections) -> np.ndarray:
    """Of each found box, whether it is the one for a true box."""
    right = np.zeros(len(found), dtype=bool)
    if len(found) and len(true):
        overlaps = sv.box_iou_batch(true.xyxy, found.xyxy)
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        right[columns] = overlaps[rows, columns] >= IOU
    return right


def crossed(sure: np.ndarray, right: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Calibrated confidence of each box by a fit on the photos of the other half."""
    odd, confidence = photos % 2 == 1, np.empty(len(sure))
    for half in (odd, ~odd):
        confidence[half] = Calibration.fit(sure[~half], right[~half])(sure[half])
    return confidence


def told(
    photos: int, confidence: np.ndarray, right: np.ndarray, before: np.ndarray | None = None
) -> dict[str, Any]:
    """Prints how confident boxes were and how many of them right; the same as numbers."""
    print("boxes  mean confidence  right")
    for count, sure, share in reliability(confidence, right):
        print(f"{count:5} {sure:16.2f} {share:6.2f}")
    found = {"photos": photos, "boxes": len(right), "right": round(float(right.mean()), 4)}
    if before is not None:
        found["calibration_error_before"] = round(calibration_error(before, right), 4)
    return found | {"calibration_error": round(calibration_error(confidence, right), 4)}


if __name__ == "__main__":
    sys.exit(main())
