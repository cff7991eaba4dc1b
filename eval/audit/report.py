"""Runs the checks over all photos and writes tables, pictures and corrections."""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import supervision as sv
from tqdm import tqdm

from eval.audit.checks import CHECKS, Finding, Photo, copies, leaks, turn
from eval.audit.duplicates import dhash
from eval.config import EvalConfig
from eval.predictions.predictions import Answers, truth_of
from eval.predictions.read import read
from eval.report.files import markdown, write_all
from eval.report.html import Picture, Section, picture, render
from eval.report.table import Sheet
from nutrition_vl.boxes import make_detections
from nutrition_vl.data import load_split
from nutrition_vl.data.photos import photo_frame
from nutrition_vl.data.rows import Sample, Skipped, attempt, stored
from nutrition_vl.data.sizes import upright
from nutrition_vl.data.sources import in_our_labels, photo_of, read_samples
from nutrition_vl.draw import annotate

CORRECTIONS = "corrections.jsonl"
SHOWN = 12  # photos of each check
TITLE = "Audit of the labels"
NOTE = f"Labels are green, predictions red; at most {SHOWN} photos of each check are shown."
MEANS = {
    "turned": "a prediction fits after a quarter turn: stored unturned",
    "stored size": "width and height in the data are not the photo's",
    "out of range": "boxes reach out of the photo",
    "tiny": "boxes too small for a table",
    "twice": "a table has two boxes",
    "same product": "a product is in two splits",
    "near-duplicate": "a photo is nearly another one",
}
UNCHECKED = {
    "turned": "not checked: give --checkpoint or --predictions",
    "stored size": "not checked: the data states no sizes",
}


@dataclass(frozen=True)
class Inspection:
    """All photos of some splits and the findings in them."""

    photos: list[Photo]
    findings: list[Finding]
    unreadable: list[Skipped]

    @classmethod
    def of(
        cls,
        data: str,
        splits: Sequence[str],
        predictions: Sequence[dict[str, list[list[float]]]],
        label: str | None = None,
    ) -> Self:
        """Checks every photo; `predictions` are boxes by id for each split, in shares of the sides.

        Raises ValueError for a split that is not there or holds no photo that can be read.
        """
        photos, hashes = [], []
        unreadable: list[Skipped] = []
        for split, boxes in zip(splits, predictions, strict=True):
            samples = in_our_labels(read_samples(data, split, unreadable), data, label)
            for sample in tqdm(samples, desc=split, unit="photo"):
                opened = attempt(unreadable, sample.id, _opened, split, sample, boxes)
                if opened:
                    photos.append(opened[0])
                    hashes.append(opened[1])
        if not photos:
            raise ValueError(f"{data} holds no photo that can be read")
        findings = [finding for check in CHECKS for photo in photos for finding in check(photo)]
        findings += [*leaks(photos, splits), *copies(photos, np.array(hashes), splits)]
        return cls(photos, findings, unreadable)

    def summary(self) -> Sheet:
        """The number of findings of each check; "-" for a check that had nothing to compare."""
        rows = [
            [check, "-", UNCHECKED[check]] if number is None else [check, str(number), MEANS[check]]
            for check, number in self._counts().items()
        ]
        rows.append(["unreadable", str(len(self.unreadable)), "left out of everything else"])
        return Sheet(f"{len(self.photos)} photos", ["check", "findings", "meaning"], rows, True)

    def record(self) -> dict[str, Any]:
        """The summary as one object of JSON."""
        counts = self._counts() | {"unreadable": len(self.unreadable)}
        corrected = len(corrections(self.findings))
        return {"photos": len(self.photos), "findings": counts, "corrections": corrected}

    def write(self, folder: Path) -> None:
        """Writes report.md, report.html and the corrections, all rendered before the first."""
        struck = [check for check in MEANS if self._of(check)]
        broken = [[row.id, row.error] for row in self.unreadable]
        last = [Sheet("unreadable", ["row", "reason"], broken, words=True)] if broken else []
        sheets = [self.summary(), *map(self._sheet, struck), *last]
        sections: list[Section] = [
            {"sheet": sheets[0]},
            {"text": NOTE},
            *({"sheet": self._sheet(check), "photos": self._pictures(check)} for check in struck),
            *({"sheet": sheet} for sheet in last),
        ]
        lines = [json.dumps(entry) + "\n" for entry in corrections(self.findings)]
        text, page = "\n".join(map(markdown, sheets)), render(TITLE, sections)
        write_all(folder, {"report.md": text, "report.html": page, CORRECTIONS: "".join(lines)})

    def _counts(self) -> dict[str, int | None]:
        """Findings by check; None where no photo has the data that the check compares."""
        compared = {
            "turned": any(photo.predictions is not None for photo in self.photos),
            "stored size": any(photo.sample.stored_size for photo in self.photos),
        }
        return {
            check: len(self._of(check)) if compared.get(check, True) else None for check in MEANS
        }

    def _of(self, check: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.check == check]

    def _sheet(self, check: str) -> Sheet:
        rows = [[at.photo.split, at.photo.id, at.what, at.proposal] for at in self._of(check)]
        return Sheet(f"{check}: {MEANS[check]}", ["split", "photo", "what", "proposed"], rows, True)

    def _pictures(self, check: str) -> list[Picture]:
        findings = self._of(check)[:SHOWN]
        return [picture(_drawn(at.photo), f"{at.photo.id}: {at.what}") for at in findings]


def _opened(split: str, sample: Sample, boxes: dict[str, list]) -> tuple[Photo, np.ndarray]:
    frame = photo_frame(*stored(sample.image))
    upright(sample, frame)  # what the loader refuses is unreadable here too
    photo = Photo.of(split, sample, frame, boxes.get(sample.id))
    return photo, dhash(photo_of(sample))


def predicted(args: argparse.Namespace, split: str, file: Path | None) -> dict[str, list]:
    """Predicted boxes by photo id, in shares of the sides; none without checkpoint or file."""
    if not args.checkpoint and file is None:
        return {}
    skipped: list[Skipped] = []  # `Inspection.of` lists them
    rows = load_split(args.data, split, skipped=skipped, label=args.label)
    if file is not None:
        ids = {sample.id for sample in read_samples(args.data, split, [])} if skipped else set()
        answers = read(file, truth_of(rows), args.data, ids, split, args.label)
    else:
        config = EvalConfig(
            checkpoint=args.checkpoint,
            data=args.data,
            split=split,
            device=args.device,
            out=args.out / split,
        )
        answers = _predict(config, rows)
    return dict(zip(answers.ids, answers.shares(answers.predictions), strict=True))


def _predict(config: EvalConfig, rows: Any) -> Answers:
    from eval.sweep.sweep import Sweep
    from eval.sweep.targets import targets

    *_, last = targets(config)
    (result,) = Sweep(rows, config).results([last])
    return result.answers


def corrections(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One entry per photo with a proposal, as `nutrition_vl.data.corrections` reads it."""
    of_photo: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.proposal:
            of_photo[finding.photo.split, finding.photo.id].append(finding)
    return [_entry(findings) for findings in of_photo.values()]


def _entry(findings: Sequence[Finding]) -> dict[str, Any]:
    photo = findings[0].photo
    named = {"id": photo.id, "split": photo.split}
    why = "; ".join(finding.what for finding in findings)
    dropped = {index for finding in findings for index in finding.drop}
    kept = [index for index in range(len(photo.xyxy)) if index not in dropped]
    # A photo whose boxes are all wrong is not one without a table.
    if not kept or any(finding.leave_out for finding in findings):
        return named | {"leave_out": True, "why": why}
    right = turn(photo.xyxy, sum(finding.turns for finding in findings)).clip(0, 1)[kept]
    xyxy = (right * [*photo.size, *photo.size]).round(2).tolist()
    labels = [photo.sample.labels[index] for index in kept]
    return named | {"xyxy": xyxy, "label": labels, "why": why}


def _drawn(photo: Photo) -> Any:
    truth, predictions = (_pixels(photo, boxes) for boxes in (photo.xyxy, photo.predictions))
    return annotate(photo_of(photo.sample), predictions, truth)


def _pixels(photo: Photo, boxes: np.ndarray | None) -> sv.Detections:
    shares = np.empty((0, 4)) if boxes is None else boxes
    return make_detections(shares * [*photo.size, *photo.size])
