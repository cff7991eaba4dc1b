"""What to evaluate: the command line as a dataclass."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from eval.perturb import PERTURBATIONS
from nutrition_vl.cli import folder, positive, share

ABOUT = "Scores checkpoints, or predictions of any model, against the true boxes of a split."
DETAILS = """
examples:
  python -m eval --checkpoint demo --data photos/ --split val
  python -m eval --run runs/qlora --split val          # base, then every checkpoint in order
  python -m eval --run runs/a --run runs/b --split val --out compared/
  python -m eval --predictions baseline_samples.csv exp1a_samples.csv
  python -m eval --predictions yolo.json --data instances.json
  python -m eval --run runs/qlora --predictions ocr.jsonl     # of python -m eval.ocr
  python -m eval --checkpoint demo --data photos/ --perturb blur,dark    # or all
  accelerate launch -m eval --run runs/qlora           # photos shared by all GPUs

Predictions are kept in RUN/eval/predictions and only gaps are filled: stop and start at will.
A checkpoint that would be asked otherwise than its card says (prompt, token budget, quantisation,
attention) is refused, or scored and flagged with --force.
The last line on stdout is one JSON object with every number.
exit codes: 0 all is scored, 2 something is wrong and nothing was overwritten
"""
FILES = "of any model: our JSON lines, COCO results, or the original's table of samples"
SURE = (
    "boxes less sure count only in AP and the curves (default: what command and page show; of "
    "--predictions every box)"
)
PERTURB = "also the base and the best row on worse photos: rotate90,blur,jpeg,... or all"


@dataclass(frozen=True)
class EvalConfig:
    """What to score are `runs` or a `checkpoint`, `predictions`, or both; `out` gets the report."""

    runs: tuple[Path, ...] = ()
    checkpoint: str | None = None
    predictions: tuple[Path, ...] = ()
    data: str | None = None
    split: str = "val"
    limit: int | None = None
    batch_size: int = 8
    device: str = "auto"
    out: Path | None = None
    perturb: tuple[str, ...] = ()
    corrections: Path | None = None
    force: bool = False
    threshold: float | None = None

    @property
    def asks_models(self) -> bool:
        """Whether models are to be asked, and not only files to be read."""
        return bool(self.runs or self.checkpoint)


def parse(argv: list[str] | None = None) -> EvalConfig:
    """The command line; argparse exits with 2 and one sentence for what it does not understand."""
    options = parser()
    found = options.parse_args(argv)
    if not (found.run or found.checkpoint or found.predictions):
        options.error("say what to score: --run, --checkpoint or --predictions")
    if found.perturb and not (found.run or found.checkpoint):
        options.error("--perturb asks a model anew: give --run or --checkpoint")
    if (found.limit or found.corrections) and not (found.data or found.run or found.checkpoint):
        options.error("--limit and --corrections are about the photos: name them with --data")
    return EvalConfig(
        runs=tuple(found.run),
        checkpoint=found.checkpoint,
        predictions=tuple(found.predictions),
        data=found.data,
        split=found.split,
        limit=found.limit,
        batch_size=found.batch_size,
        device=found.device,
        out=found.out,
        perturb=found.perturb,
        corrections=found.corrections,
        force=found.force,
        threshold=found.threshold,
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m eval",
        description=ABOUT,
        epilog=DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = options.add_mutually_exclusive_group()
    what.add_argument(
        "--run", type=Path, action="append", default=[], help="a run folder; may be repeated"
    )
    what.add_argument("--checkpoint", help="demo, a checkpoint folder, a run (its best) or a base")
    add = options.add_argument
    add("--predictions", type=Path, nargs="+", default=[], metavar="FILE", help=FILES)
    add("--data", metavar="SOURCE", help="folder, file or hub id (default the Open Food Facts set)")
    add("--split", default="val", help="default val")
    add("--limit", type=positive, metavar="N", help="only the first N photos")
    add("--batch-size", type=positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--out", type=folder, metavar="DIR", help="where the report goes (default RUN/eval)")
    add("--perturb", type=_perturbations, default=(), metavar="NAMES", help=PERTURB)
    add(
        "--corrections",
        type=Path,
        metavar="FILE",
        help="of python -m eval.audit, to the truth",
    )
    add("--threshold", type=share, metavar="T", help=SURE)
    add("--force", action="store_true", help="score rows that are not comparable, flagged")
    return options


def _perturbations(text: str) -> tuple[str, ...]:
    names = tuple(PERTURBATIONS) if text == "all" else tuple(text.split(","))
    if unknown := [name for name in names if name not in PERTURBATIONS]:
        raise argparse.ArgumentTypeError(
            f"there is no {unknown[0]!r}: choose from {', '.join(PERTURBATIONS)}, or all"
        )
    return tuple(dict.fromkeys(names))
