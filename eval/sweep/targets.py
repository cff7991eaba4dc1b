"""Lists the rows of a sweep: the base without adapter, then every checkpoint of every run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from eval.config import EvalConfig
from eval.sweep.provenance import key_of, provenance
from nutrition_vl.models.checkpoints import Card, Checkpoint, list_checkpoints, read_card, resolve
from nutrition_vl.models.names import NF4, NONE

BASE = "base"


@dataclass(frozen=True)
class Target:
    """One row of the sweep: an adapter (or "none") on a quantized base.

    `checkpoint` brings the base, and the processor for the base without adapter. `key` identifies
    all that the predictions depend on; they lie in `folder`.
    """

    name: str
    run: str
    step: int | None
    checkpoint: Checkpoint
    adapter: str
    quantization: str
    folder: Path
    card: Card | None = None
    key: str = ""
    perturb: str = ""

    @property
    def model(self) -> tuple[str, str]:
        """The base and its quantization, which several adapters share."""
        return self.checkpoint.base, self.quantization

    @property
    def file(self) -> Path:
        """The predictions file: NAME-KEY.jsonl, or NAME+PERTURBATION-KEY.jsonl."""
        name = f"{self.name}+{self.perturb}" if self.perturb else self.name
        return self.folder / f"{name}-{self.key}.jsonl"


def targets(config: EvalConfig) -> list[Target]:
    """The base without adapter first, then each run's checkpoints in the order of their steps.

    Raises FileNotFoundError or ValueError for a folder that is no run or checkpoint of ours.
    """
    rows: list[Target] = []
    for run, models in _runs(config):
        bases = {row.model for row in rows}
        of_run = _rows(run, models, config)
        rows += [row for row in of_run if row.adapter != NONE or row.model not in bases]
    return [replace(row, key=key_of(provenance(row, config))) for row in rows]


def checkpoints(run: Path) -> dict[str, Path]:
    """The checkpoint folders of a run by name, in the order of their steps.

    Raises FileNotFoundError for a folder without any.
    """
    folders = list_checkpoints(run)
    if not folders:
        raise FileNotFoundError(
            f"{run} holds no checkpoint-N folder: name a run that python -m training has made"
        )
    return {path.name: path for path in folders}


def report_folder(config: EvalConfig) -> Path:
    """The folder of the report: --out, RUN/eval, or `eval` next to several runs."""
    if config.out is not None:
        return config.out
    if config.checkpoint is not None:
        return _run_of(config.checkpoint) / "eval"
    return (config.runs[0] if len(config.runs) == 1 else config.runs[0].parent) / "eval"


def _runs(config: EvalConfig) -> Iterator[tuple[Path, dict[str, Checkpoint]]]:
    """Each run's folder with the models to score by name."""
    if name := config.checkpoint:
        model = resolve(name, check_prompt=False)  # `mismatches` compares it
        folder = model.adapter.resolve().name if model.adapter else BASE
        yield _run_of(name), {name if name == "demo" else folder: model}
    names = [run.resolve().name for run in config.runs]
    if len(set(names)) < len(names):
        raise ValueError(f"two of the runs have one name ({', '.join(names)}): rename one")
    for run in config.runs:
        folders = checkpoints(run).items()
        yield run, {name: resolve(folder, check_prompt=False) for name, folder in folders}


def _rows(run: Path, models: Mapping[str, Checkpoint], config: EvalConfig) -> list[Target]:
    """Every model in each quantization, before them the base of the first without its adapter."""
    rows: list[Target] = []
    place = config.out or run / "eval"
    folder = place / "predictions" / (run.resolve().name if config.out else "")
    for name, model in models.items():
        card = read_card(model.adapter, check_prompt=False) if model.adapter else None
        own = card.quantization if card else NF4
        for quantization in dict.fromkeys(config.quantization or [own]):
            suffix = "" if quantization == own else f"@{quantization}"
            row = Target(
                name=name + suffix,
                run=run.resolve().name,
                step=_step(name),
                checkpoint=model,
                adapter=str(model.adapter or NONE),
                quantization=quantization,
                folder=folder,
                card=card,
            )
            if card and not rows:
                bare = replace(row, name=BASE + suffix, step=None, adapter=NONE, card=None)
                rows.append(bare)
            rows.append(row)
    return rows


def _run_of(checkpoint: str) -> Path:
    """The run of a checkpoint, or runs/NAME for what lies in none: demo, a base, a hub id."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return Path("runs") / folder.name
    return folder.resolve().parent if _step(folder.resolve().name) is not None else folder


def _step(name: str) -> int | None:
    match = re.fullmatch(r"checkpoint-(\d+)", name)
    return int(match[1]) if match else None
