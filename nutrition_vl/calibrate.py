"""Calibrates an adapter's confidences on labelled photos that it was not trained on.

examples:
  python -m training.render --count 800 --out rendered --split val --seed 5000000
  python -m nutrition_vl.calibrate --data rendered
  python -m nutrition_vl.calibrate --checkpoint runs/qlora --data photos/ --check --draw it.png

A box is right if it is matched to a true box at an IoU of 0.5. The share of right boxes is fitted
to the model's raw scores and saved next to the adapter as calibration.json, which every later
detection reads. The reported error is cross-validated: each half of the photos is measured with the
fit on the other half. --check fits and saves nothing: it measures the saved calibration on other
photos. --draw makes a reliability diagram, before and after calibration. The last line on stdout is
one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nutrition_vl.cli import LABEL, command, described, file, positive

if TYPE_CHECKING:
    from datasets import Dataset

    from nutrition_vl.detector import Detector

LEAST = 20  # boxes; a fit of two numbers to fewer is mostly chance
WHOLE = 0.95  # share of tables that a crop with the learned margin holds whole


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl.calibrate", __doc__)
    add = options.add_argument
    add("--checkpoint", default="demo", help="demo, a run or a checkpoint folder (default demo)")
    add("--data", required=True, metavar="SOURCE", help="folder, file or hub id of labelled photos")
    add("--split", default="val", help="default val")
    add("--label", metavar="NAME", help=LABEL)
    add("--batch-size", type=positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--draw", type=file, metavar="PNG", help="file for a reliability diagram")
    add("--check", action="store_true", help="only measure the saved calibration")
    return options


def _run(args: argparse.Namespace) -> None:
    print(json.dumps(calibrate(args)))


def calibrate(args: argparse.Namespace) -> dict[str, Any]:
    """Fits and saves, or checks; returns the report."""
    # Here and not above, as below: these imports take seconds, and --help need not wait for them.
    from nutrition_vl.confidence import Calibration
    from nutrition_vl.data import load_split
    from nutrition_vl.data.rows import Skipped, warn_skipped
    from nutrition_vl.detector import Detector
    from nutrition_vl.models.checkpoints import resolve_adapter

    _, folder = resolve_adapter(args.checkpoint)
    skipped: list[Skipped] = []
    rows = load_split(args.data, args.split, skipped=skipped, label=args.label)
    warn_skipped(args.data, skipped, "used")
    detector = Detector.load(args.checkpoint, device=args.device)
    detector.calibrate(Calibration())
    scores, right, photos, margins = collect_scores(detector, rows, args.batch_size)
    if not len(scores):
        raise ValueError(f"no box was found on the {len(rows)} photos: there is nothing to fit")
    if args.check:
        confidence = Calibration.load(folder)(scores)
    else:
        confidence = cross_calibrated(scores, right, photos)
        margin = round(float(np.quantile(margins, WHOLE)), 4) if len(margins) else 0.0
        Calibration.fit(scores, right, margin).save(folder)
        print(f"saved next to the adapter in {folder}")
    if args.draw:
        diagram({"before": scores, "after": confidence}, right, args.draw)
    return report(len(rows), scores, confidence, right)


def collect_scores(
    detector: "Detector", rows: "Dataset", batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The raw score of every detected box, a mask of the right ones, the row of each, and the
    margin with which each right box holds its whole table."""
    from tqdm import tqdm

    from nutrition_vl.data import truth
    from nutrition_vl.data.sources import photo_file, undecoded
    from nutrition_vl.looks.crops import margins_needed
    from nutrition_vl.matching import iou, is_right

    scores, right, photos, margins = [], [], [], []
    images = map(photo_file, undecoded(rows)["image"])
    stream = tqdm(detector.stream(images, batch_size=batch_size), total=len(rows), unit="photo")
    labels = rows.remove_columns("image")
    for number, (detection, row) in enumerate(zip(stream, labels, strict=True)):
        boxes = detection.unwrap().detections
        assert boxes.confidence is not None
        scores += [boxes.confidence]
        overlap = iou(true := truth(row).xyxy, boxes.xyxy)
        right += [is_right(overlap, boxes.confidence)]
        tables = [overlap[:, box].argmax() for box in np.flatnonzero(right[-1])]
        margins += [margins_needed(boxes.xyxy[right[-1]], true[tables])]
        photos += [np.full(len(boxes), number)]
    columns = [np.concatenate(column) for column in (scores, right, photos, margins)]
    return columns[0], columns[1], columns[2], columns[3]


def cross_calibrated(scores: np.ndarray, right: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Confidence of each box by the fit on the other half of the photos; ValueError for too few
    boxes to fit and to measure on."""
    from nutrition_vl.confidence import Calibration

    odd, confidence = photos % 2 == 1, np.empty(len(scores))
    if len(scores) < LEAST or odd.all() or not odd.any():
        raise ValueError(
            f"only {len(scores)} boxes were found, on {len(np.unique(photos))} photos: a"
            f" calibration needs {LEAST}, and some on each half of the photos, so give more of them"
        )
    for half in (odd, ~odd):
        confidence[half] = Calibration.fit(scores[~half], right[~half])(scores[half])
    return confidence


def diagram(confidences: Mapping[str, np.ndarray], right: np.ndarray, file: Path) -> None:
    """Draws the share of right boxes over confidence in ten bins, one line per name, points sized
    by the number of boxes."""
    from matplotlib.figure import Figure

    from nutrition_vl.confidence import calibration_error, reliability

    axes = (figure := Figure(figsize=(5.2, 5.2), layout="constrained")).add_subplot()
    axes.plot([0, 1], [0, 1], "--", color="gray", label="perfectly calibrated")
    for name, confidence in confidences.items():
        counts, means, shares = zip(*reliability(confidence, right), strict=True)
        error = calibration_error(confidence, right)
        (line,) = axes.plot(means, shares, label=f"{name} calibration, error {error:.3f}")
        sizes = [10 + 200 * count / len(right) for count in counts]
        axes.scatter(means, shares, sizes, color=line.get_color())
    axes.set(xlabel="confidence", ylabel="share of right boxes", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left", frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png", dpi=150)


def report(
    photos: int, before: np.ndarray, confidence: np.ndarray, right: np.ndarray
) -> dict[str, Any]:
    """Prints mean confidence and share of right boxes per bin; returns the totals."""
    from nutrition_vl.confidence import calibration_error, reliability

    print("boxes  mean confidence  right")
    for count, mean, share in reliability(confidence, right):
        print(f"{count:5} {mean:16.2f} {share:6.2f}")
    return {
        "photos": photos,
        "boxes": len(right),
        "right": round(float(right.mean()), 4),
        "calibration_error_before": round(calibration_error(before, right), 4),
        "calibration_error": round(calibration_error(confidence, right), 4),
    }


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
