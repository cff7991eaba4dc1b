"""What a sweep goes through: the base without adapter, then every checkpoint of every run."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from eval.config import EvalConfig
from eval.sweep.card_check import admit
from nutrition_vl.models.checkpoints import CARD, Card, list_checkpoints, resolve

Admit = Callable[[Path], tuple[Path, Card, tuple[str, ...]]]
BASE = "base"
BARE = "none"  # what `Detector.detect` calls the base without adapter


@dataclass(frozen=True)
class Target:
    """One row of the sweep: an adapter (or "none") on a base, its step, where predictions are kept.

    `checkpoint` is loaded for the base; its processor is what the base without adapter is asked by.
    `differs` says how it is asked otherwise than its card says, `perturb` how photos are spoilt.
    """

    name: str
    run: str
    step: int | None
    base: str
    checkpoint: str
    adapter: str
    file: Path
    card: Card | None = None
    differs: tuple[str, ...] = ()
    perturb: str = ""

    def perturbed(self, name: str) -> "Target":
        """The same row on photos spoilt by one of `perturb.PERTURBATIONS`."""
        file = self.file.with_name(f"{self.file.stem}+{name}.jsonl")
        return replace(self, file=file, perturb=name)


def targets(config: EvalConfig, scratch: Path) -> list[Target]:
    """The base without adapter first, then each run's checkpoints in the order of their steps.

    Raises FileNotFoundError or ValueError for what is no run or checkpoint of ours, and for what
    `comparable.admit` refuses; `scratch` is its folder.
    """
    admitted = partial(admit, device=config.device, force=config.force, scratch=scratch)
    if config.checkpoint is not None:
        return _of_checkpoint(config.checkpoint, config.out, admitted)
    names = [run.resolve().name for run in config.runs]
    if len(set(names)) < len(names):
        raise ValueError(f"two of the runs have one name ({', '.join(names)}): rename one")
    found: list[Target] = []
    for run in config.runs:
        known = {target.base for target in found}
        found += [
            target
            for target in _rows(checkpoints(run), run, config.out, admitted)
            if target.adapter != BARE or target.base not in known
        ]
    return found


def checkpoints(run: Path) -> dict[str, Path]:
    """The checkpoint folders of a run by name, in the order of their steps.

    Raises FileNotFoundError for a folder without any.
    """
    found = list_checkpoints(run)
    if not found:
        raise FileNotFoundError(
            f"{run} holds no checkpoint-N folder: name a run that python -m training has made"
        )
    return {path.name: path for path in found}


def home(config: EvalConfig) -> Path:
    """The folder of the report: --out, RUN/eval, or `eval` beside several runs."""
    if config.out is not None:
        return config.out
    if config.checkpoint is not None:
        return _run_of(config.checkpoint) / "eval"
    return (config.runs[0] if len(config.runs) == 1 else config.runs[0].parent) / "eval"


def _of_checkpoint(name: str, out: Path | None, admitted: Admit) -> list[Target]:
    run = _run_of(name)
    if (Path(name) / CARD).is_file():  # `resolve` would not let a card with another prompt pass
        return _rows({Path(name).resolve().name: Path(name)}, run, out, admitted)
    found = resolve(name)
    if found.adapter is None:
        file = _predictions(run, out) / f"{BASE}.jsonl"
        return [Target(BASE, run.name, None, found.base, name, BARE, file)]
    called = name if name == "demo" else found.adapter.name
    return _rows({called: found.adapter}, run, out, admitted)


def _run_of(checkpoint: str) -> Path:
    """The run of a checkpoint, or runs/NAME for what lies in none: demo, a base, a hub id."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return Path("runs") / folder.name
    return folder.resolve().parent if _step(folder.resolve().name) is not None else folder


def _predictions(run: Path, out: Path | None) -> Path:
    return run / "eval" / "predictions" if out is None else out / "predictions" / run.resolve().name


def _rows(folders: dict[str, Path], run: Path, out: Path | None, admitted: Admit) -> list[Target]:
    """The base of the first checkpoint, then the checkpoints under their names."""
    files, called = _predictions(run, out), run.resolve().name
    rows = []
    for name, path in folders.items():
        asked, card, differs = admitted(path)
        base, folder, file = resolve(asked).base, str(asked), files / f"{name}.jsonl"
        row = Target(name, called, _step(name), base, folder, folder, file, card, differs)
        rows.append(row)
    first = rows[0]
    file = files / f"{BASE}.jsonl"
    return [Target(BASE, called, None, first.base, first.checkpoint, BARE, file), *rows]


def _step(name: str) -> int | None:
    match = re.fullmatch(r"checkpoint-(\d+)", name)
    return int(match[1]) if match else None
