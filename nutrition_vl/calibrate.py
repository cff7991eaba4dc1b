"""Makes an adapter's confidences mean what they say, on labelled photos it was not trained on.

examples:
  python -m training.render --count 800 --out rendered --split val --seed 5000000
  python -m nutrition_vl.calibrate --data rendered
  python -m nutrition_vl.calibrate --checkpoint runs/qlora --data photos/ --check --draw it.png

A box is right if it is the one for a true box that it covers at an IoU of 0.5. How often boxes are
right is fitted to what the model thinks of them, and saved beside the adapter as calibration.json,
which every later detection reads. How well that works is measured on the half of the photos that a
fit has not seen. With --check nothing is fitted or saved: it tells how good the saved calibration
is on other photos. --draw makes a reliability diagram, before and after calibration. The last line
on stdout is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nutrition_vl.cli import described, file, guarded, positive

if TYPE_CHECKING:
    import supervision as sv
    from datasets import Dataset

    from nutrition_vl.detector import Detector

IOU = 0.5
LEAST = 20  # boxes; two numbers fitted to fewer say more about chance than about the model


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args = parser().parse_args(argv)
    return guarded("nutrition_vl.calibrate", lambda: _run(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl.calibrate", __doc__)
    add = options.add_argument
    add("--checkpoint", default="demo", help="demo, a run or a checkpoint folder (default demo)")
    add("--data", required=True, metavar="SOURCE", help="folder, file or hub id of labelled photos")
    add("--split", default="val", help="default val")
    add("--batch-size", type=positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--draw", type=file, metavar="PNG", help="where a reliability diagram goes")
    add("--check", action="store_true", help="only tell how good the saved calibration is")
    return options


def _run(args: argparse.Namespace) -> int:
    print(json.dumps(calibrate(args)))
    return 0


def calibrate(args: argparse.Namespace) -> dict[str, Any]:
    """Fits and saves, or checks; what is to be told of it."""
    # Here and not above, as below: they take seconds, which --help need not wait for.
    from nutrition_vl.confidence import Calibration
    from nutrition_vl.data import load_split
    from nutrition_vl.detector import Detector
    from nutrition_vl.models.checkpoints import resolve_adapter

    _, folder = resolve_adapter(args.checkpoint)
    rows = load_split(args.data, args.split)
    detector = Detector.load(args.checkpoint, device=args.device)
    detector.calibrate(Calibration())
    sure, right, photos = judge(detector, rows, args.batch_size)
    if not len(sure):
        raise ValueError(f"no box was found on the {len(rows)} photos: nothing can be learnt of it")
    if args.check:
        confidence = Calibration.load(folder)(sure)
    else:
        confidence = crossed(sure, right, photos)
        Calibration.fit(sure, right).save(folder)
        print(f"saved beside the adapter in {folder}")
    if args.draw:
        diagram({"before": sure, "after": confidence}, right, args.draw)
    return told(len(rows), sure, confidence, right)


def judge(
    detector: "Detector", rows: "Dataset", batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence of every box that is found, whether it is right, and on which row."""
    from tqdm import tqdm

    from nutrition_vl.data import truth

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


def is_right(found: "sv.Detections", true: "sv.Detections") -> np.ndarray:
    """Of each found box, whether it is the one for a true box."""
    import supervision as sv
    from scipy.optimize import linear_sum_assignment

    right = np.zeros(len(found), dtype=bool)
    if len(found) and len(true):
        overlaps = sv.box_iou_batch(true.xyxy, found.xyxy)
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        right[columns] = overlaps[rows, columns] >= IOU
    return right


def crossed(sure: np.ndarray, right: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Calibrated confidence of each box by a fit on the photos of the other half; ValueError for
    too few boxes to fit and to measure on."""
    from nutrition_vl.confidence import Calibration

    odd, confidence = photos % 2 == 1, np.empty(len(sure))
    if len(sure) < LEAST or odd.all() or not odd.any():
        raise ValueError(
            f"only {len(sure)} boxes were found, on {len(np.unique(photos))} photos: a calibration"
            f" needs {LEAST}, and some on each half of the photos, so give more of them"
        )
    for half in (odd, ~odd):
        confidence[half] = Calibration.fit(sure[~half], right[~half])(sure[half])
    return confidence


def diagram(confidences: Mapping[str, np.ndarray], right: np.ndarray, file: Path) -> None:
    """Draws the share of right boxes over their confidence, in ten bins of it, a line a name; a
    point is the larger, the more boxes it stands for."""
    from matplotlib.figure import Figure

    from nutrition_vl.confidence import calibration_error, reliability

    axes = (figure := Figure(figsize=(5.2, 5.2), layout="constrained")).add_subplot()
    axes.plot([0, 1], [0, 1], "--", color="gray", label="as sure as right")
    for name, confidence in confidences.items():
        counts, sure, shares = zip(*reliability(confidence, right), strict=True)
        error = calibration_error(confidence, right)
        (line,) = axes.plot(sure, shares, label=f"{name} calibration, error {error:.3f}")
        sizes = [10 + 200 * count / len(right) for count in counts]
        axes.scatter(sure, shares, sizes, color=line.get_color())
    axes.set(xlabel="confidence", ylabel="share of right boxes", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left", frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png", dpi=150)


def told(
    photos: int, before: np.ndarray, confidence: np.ndarray, right: np.ndarray
) -> dict[str, Any]:
    """Prints how confident boxes were and how many of them right; the same as numbers."""
    from nutrition_vl.confidence import calibration_error, reliability

    print("boxes  mean confidence  right")
    for count, sure, share in reliability(confidence, right):
        print(f"{count:5} {sure:16.2f} {share:6.2f}")
    found = {"photos": photos, "boxes": len(right), "right": round(float(right.mean()), 4)}
    errors = {"calibration_error_before": before, "calibration_error": confidence}
    return found | {name: round(calibration_error(sure, right), 4) for name, sure in errors.items()}


if __name__ == "__main__":
    sys.exit(main())
