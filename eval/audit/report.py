"""An audit from photos to files: what the checks found, as tables, pictures and corrections."""

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
from eval.report.files import markdown
from eval.report.html import Picture, Section, picture, render
from eval.report.table import Sheet
from nutrition_vl.boxes import LABELS, make_detections
from nutrition_vl.data import load_split
from nutrition_vl.data.photos import photo_frame
from nutrition_vl.data.rows import Sample, Skipped, attempt, stored
from nutrition_vl.data.sources import photo_of, read_samples
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


@dataclass(frozen=True)
class Inspection:
    """All photos of some splits and what looks wrong in them."""

    photos: list[Photo]
    findings: list[Finding]
    unreadable: list[Skipped]

    @classmethod
    def of(
        cls, data: str, splits: Sequence[str], found: Sequence[dict[str, list[list[float]]]]
    ) -> Self:
        """Looks at every photo; `found` has, for each split, boxes in shares of the sides by id.

        Raises ValueError for a split that is not there or holds no photo that can be read.
        """
        photos, hashes = [], []
        unreadable: list[Skipped] = []
        for split, boxes in zip(splits, found, strict=True):
            for sample in tqdm(read_samples(data, split, unreadable), desc=split, unit="photo"):
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
        """How often each check struck."""
        checked = sum(photo.found is not None for photo in self.photos)
        notes = MEANS if checked else MEANS | {"turned": "not looked for: give --checkpoint"}
        rows = [[check, str(len(self._of(check))), note] for check, note in notes.items()]
        rows.append(["unreadable", str(len(self.unreadable)), "left out of everything else"])
        return Sheet(f"{len(self.photos)} photos", ["check", "findings", "meaning"], rows, True)

    def record(self) -> dict[str, Any]:
        """The summary as one object of JSON."""
        counts = {check: len(self._of(check)) for check in MEANS}
        counts["unreadable"] = len(self.unreadable)
        corrected = len(corrections(self.findings))
        return {"photos": len(self.photos), "findings": counts, "corrections": corrected}

    def write(self, folder: Path) -> None:
        """Puts report.md, report.html and the corrections there, all made before the first."""
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
        files = {
            "report.md": "\n".join(map(markdown, sheets)),
            "report.html": render(TITLE, sections),
            CORRECTIONS: "".join(lines),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")

    def _of(self, check: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.check == check]

    def _sheet(self, check: str) -> Sheet:
        rows = [[at.photo.split, at.photo.id, at.what, at.proposal] for at in self._of(check)]
        return Sheet(f"{check}: {MEANS[check]}", ["split", "photo", "what", "proposed"], rows, True)

    def _pictures(self, check: str) -> list[Picture]:
        found = self._of(check)[:SHOWN]
        return [picture(_drawn(at.photo), f"{at.photo.id}: {at.what}") for at in found]


def _opened(split: str, sample: Sample, boxes: dict[str, list]) -> tuple[Photo, np.ndarray]:
    frame = photo_frame(*stored(sample.image))
    photo = Photo.of(split, sample, frame, boxes.get(sample.id))
    return photo, dhash(photo_of(sample))


def told(args: argparse.Namespace, split: str, file: Path | None) -> dict[str, list]:
    """What a model found in a split, in shares of the sides by photo, if one is asked."""
    if not args.checkpoint and file is None:
        return {}
    rows = load_split(args.data, split, skipped=[])  # `Inspection.of` lists them
    if file is not None:
        answers = read(file, truth_of(rows), args.data)
    else:
        config = EvalConfig(
            checkpoint=args.checkpoint,
            data=args.data,
            split=split,
            device=args.device,
            out=args.out / split,
        )
        answers = _asked(config, rows)
    return dict(zip(answers.ids, answers.shares(answers.predictions), strict=True))


def _asked(config: EvalConfig, rows: Any) -> Answers:
    from eval.sweep.sweep import Sweep
    from eval.sweep.targets import targets

    *_, last = targets(config)
    (result,) = Sweep(rows, config).results([last])
    return result.answers


def corrections(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """What would put the photos right, an entry a photo, as `nutrition_vl.corrections` reads it."""
    of_photo: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.proposal:
            of_photo[finding.photo.split, finding.photo.id].append(finding)
    return [_entry(found) for found in of_photo.values()]


def _entry(found: Sequence[Finding]) -> dict[str, Any]:
    photo = found[0].photo
    named = {"id": photo.id, "split": photo.split}
    why = "; ".join(finding.what for finding in found)
    dropped = {index for finding in found for index in finding.drop}
    kept = [index for index in range(len(photo.xyxy)) if index not in dropped]
    # A photo whose boxes are all wrong is not one without a table.
    if not kept or any(finding.leave_out for finding in found):
        return named | {"leave_out": True, "why": why}
    right = turn(photo.xyxy, sum(finding.turns for finding in found)).clip(0, 1)[kept]
    xyxy = (right * [*photo.size, *photo.size]).round(2).tolist()
    names = [photo.sample.labels[index] for index in kept]
    labels = [name if name in LABELS else LABELS[0] for name in names]
    return named | {"xyxy": xyxy, "label": labels, "why": why}


def _drawn(photo: Photo) -> Any:
    truth, found = (_pixels(photo, boxes) for boxes in (photo.xyxy, photo.found))
    return annotate(photo_of(photo.sample), found, truth)


def _pixels(photo: Photo, boxes: np.ndarray | None) -> sv.Detections:
    shares = np.empty((0, 4)) if boxes is None else boxes
    return make_detections(shares * [*photo.size, *photo.size])
