"""Merges a trained adapter into its base, and proves that the merged model says the same.

examples:
  python -m training.merge runs/qlora
  python -m training.merge runs/qlora/checkpoint-271 --out merged --photos my_photos
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nutrition_vl.cli import described, guarded
from nutrition_vl.data.photos import find_photos, open_photo

if TYPE_CHECKING:
    from nutrition_vl.answer import Answer
    from nutrition_vl.models.checkpoints import Checkpoint

SAMPLES = 3
ALIKE = 0.95  # IoU: in bfloat16 merging rounds, and may move an edge by a step of the grid


def merge(run: str, out: Path, photos: Sequence[Image.Image], device: str = "auto") -> int:
    """Saves the merged model in `out`; returns on how many of the photos it was proven equal.

    ValueError where it cannot be merged or is not the same afterwards.
    """
    # Here and not above, as below: they take seconds, which --help need not wait for.
    from nutrition_vl.detector import Detector
    from nutrition_vl.models.checkpoints import read_card, resolve_adapter
    from nutrition_vl.models.load import attach, load_base, load_processor
    from nutrition_vl.models.runtime import detect_runtime
    from training.run.model_card import write_model_card

    (found, adapter), runtime = resolve_adapter(run), detect_runtime(device)
    _check(found, out)
    model = load_base(found.base, runtime, found.revision, quantization="none")
    processor = load_processor(adapter)
    adapted = attach(model, adapter, "trained")
    detector = Detector.around(model, processor)
    before = detector.detect(photos)
    merged = adapted.merge_and_unload()
    for number, (old, new) in enumerate(zip(before, detector.detect(photos), strict=True), 1):
        if not alike(old, new):
            raise ValueError(
                f"merged it answers {new.text!r} instead of {old.text!r} on photo {number}"
            )
    merged.save_pretrained(out)
    processor.save_pretrained(out)
    write_model_card(out, read_card(adapter), adapter.parent, merged=True)
    return len(photos)


def alike(one: "Answer", other: "Answer") -> bool:
    """Whether two answers are the same words, or the same boxes but for a step of the grid."""
    import supervision as sv

    if one.text == other.text:
        return True
    if not len(one.detections) == len(other.detections) > 0:
        return False
    overlaps = sv.box_iou_batch(one.detections.xyxy, other.detections.xyxy)
    return bool((np.diag(overlaps) >= ALIKE).all())


def _check(found: "Checkpoint", out: Path) -> None:
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(found.base, revision=found.revision)
    if "quantization_config" in config:
        raise ValueError(
            f"{found.base} is quantised, and what an adapter adds would be rounded away with it: "
            "merge into the base in bfloat16"
        )
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name another --out")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = described("training.merge", __doc__)
    parser.add_argument("run", help="demo, a run or a checkpoint")
    parser.add_argument("--out", type=Path, help="folder to make (default: RUN-merged)")
    parser.add_argument("--photos", type=Path, help="folder to prove it on (default: rendered)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; 0 when merged and proven, 2 when not."""
    options = parser().parse_args(arguments)
    return guarded("training.merge", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    out = options.out or Path(f"{options.run.rstrip('/')}-merged")
    same = merge(options.run, out, _samples(options.photos), options.device)
    print(f"merged: {out}, the same answers as before on {same} photos")
    return 0


def _samples(folder: Path | None) -> list[Image.Image]:
    if folder:
        return [open_photo(path) for path in find_photos([folder])[:SAMPLES]]
    from training.render.package.faces import face

    return [face(np.random.default_rng(seed)).image.convert("RGB") for seed in range(SAMPLES)]


if __name__ == "__main__":
    sys.exit(main())
