"""Settings of an evaluation: the command line as a dataclass."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.perturb import PERTURBATIONS
from nutrition_vl.cli import LABEL, described, folder, positive, share
from nutrition_vl.models.names import QUANTIZATIONS

ABOUT = """Scores checkpoints, or predictions of any model, against the true boxes of a split.

examples:
  python -m eval --checkpoint demo --data photos/ --split val
  python -m eval --run runs/qlora --split val          # base, then every checkpoint in order
  python -m eval --run runs/a --run runs/b --split val --out compared/
  python -m eval --predictions baseline_samples.csv exp1a_samples.csv
  python -m eval --predictions yolo.json --data instances.json
  python -m eval --run runs/qlora --predictions ocr.jsonl     # from python -m eval.ocr
  python -m eval --checkpoint demo --data photos/ --perturb blur,dark    # or all
  python -m eval --run runs/qlora --quantization nf4 none    # 4-bit against bfloat16, paired
  accelerate launch -m eval --run runs/qlora           # photos shared by all GPUs

Predictions lie in RUN/eval/predictions as NAME-KEY.jsonl; the key changes with weights, settings,
prompt and data. Only missing photos are predicted: stop and start at will.
If prompt, token budget or attention differ from a checkpoint's card, evaluation refuses; --force
scores it and marks the row with *.
The last line on stdout is one JSON object with every number.
exit codes: 0 all is scored, 2 something is wrong and nothing was overwritten
"""
RUN = "a run folder; may be repeated"
FILES = "from any model: our JSON lines, COCO results or instances, or the original's table"
THRESHOLD = (
    "boxes below this confidence count only in AP and the curves (default: as the command and page;"
    " every box of --predictions)"
)
PERTURB = "also the base and the best row on worse photos: rotate90,blur,jpeg,... or all"

BITS = f"{', '.join(QUANTIZATIONS)}: a row per model and name (default: as the card says)"


@dataclass(frozen=True)
class EvalConfig:
    """The rows to score, `runs` or a `checkpoint`, `predictions`, or both; `out` gets the report.

    Each model is loaded in every `quantization`, in that of its card if there is none.
    """

    runs: Sequence[Path] = ()
    checkpoint: str | None = None
    predictions: Sequence[Path] = ()
    data: str | None = None
    split: str = "val"
    limit: int | None = None
    batch_size: int = 8
    device: str = "auto"
    quantization: Sequence[str] = ()
    out: Path | None = None
    perturb: Sequence[str] = ()
    corrections: Path | None = None
    label: str | None = None
    force: bool = False
    threshold: float | None = None

    @property
    def runs_models(self) -> bool:
        """True if a model predicts, and not only files are read."""
        return bool(self.runs or self.checkpoint)


def parse(argv: list[str] | None = None) -> EvalConfig:
    """The command line; argparse exits with 2 and one sentence for a wrong one."""
    options = parser()
    config = EvalConfig(**vars(options.parse_args(argv)))
    if not (config.runs_models or config.predictions):
        options.error("say what to score: --run, --checkpoint or --predictions")
    if (config.perturb or config.quantization) and not config.runs_models:
        options.error("--perturb and --quantization need a model: give --run or --checkpoint")
    if (config.limit or config.corrections) and not (config.data or config.runs_models):
        options.error("--limit and --corrections are about the photos: name them with --data")
    return config


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = described("eval", ABOUT)
    add_model = options.add_mutually_exclusive_group().add_argument
    add_model("--run", dest="runs", metavar="RUN", type=Path, action="append", default=[], help=RUN)
    add_model("--checkpoint", help="demo, a checkpoint, a run (its best) or a base")
    add = options.add_argument
    add("--predictions", type=Path, nargs="+", default=[], metavar="FILE", help=FILES)
    add("--data", metavar="SOURCE", help="folder, file or hub id (default the Open Food Facts set)")
    add("--split", default="val", help="default val")
    add("--label", metavar="NAME", help=LABEL)
    add("--limit", type=positive, metavar="N", help="only the first N photos")
    add("--batch-size", type=positive, default=8, metavar="N", help="photos at a time (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--quantization", nargs="+", choices=QUANTIZATIONS, default=[], metavar="NAME", help=BITS)
    add("--out", type=folder, metavar="DIR", help="where the report goes (default RUN/eval)")
    add("--perturb", type=_perturbations, default=(), metavar="NAMES", help=PERTURB)
    add("--corrections", type=Path, metavar="FILE", help="of python -m eval.audit, to the truth")
    add("--threshold", type=share, metavar="T", help=THRESHOLD)
    add("--force", action="store_true", help="score rows that are not comparable, flagged")
    return options


def _perturbations(text: str) -> tuple[str, ...]:
    names = tuple(PERTURBATIONS) if text == "all" else tuple(text.split(","))
    if unknown := [name for name in names if name not in PERTURBATIONS]:
        raise argparse.ArgumentTypeError(
            f"there is no {unknown[0]!r}: choose from {', '.join(PERTURBATIONS)}, or all"
        )
    return tuple(dict.fromkeys(names))
