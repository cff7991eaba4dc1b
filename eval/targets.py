"""What a sweep goes through: the base without adapter, then every checkpoint of every run."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from eval.config import EvalConfig
from nutrition_vl.checkpoints import Card, list_checkpoints, read_card, resolve

BASE = "base"
BARE = "none"  # what `Detector.detect` calls the base without adapter


@dataclass(frozen=True)
class Target:
    """One row of the sweep: an adapter (or "none") on a base, its step, where predictions are kept.

    `checkpoint` is loaded for the base; its processor is what the base without adapter is asked by.
    """

    name: str
    run: str
    step: int | None
    base: str
    checkpoint: str
    adapter: str
    file: Path
    card: Card | None = None


def targets(config: EvalConfig) -> list[Target]:
    """The base without adapter first, then each run's checkpoints in the order of their steps.

    Raises FileNotFoundError or ValueError for what is no run or checkpoint of ours.
    """
    if config.checkpoint is not None:
        return _of_checkpoint(config.checkpoint, config.out)
    names = [run.resolve().name for run in config.runs]
    if len(set(names)) < len(names):
        raise ValueError(f"two of the runs have one name ({', '.join(names)}): rename one")
    found: list[Target] = []
    for run in config.runs:
        known = {target.base for target in found}
        found += [
            target
            for target in _of_run(run, config.out)
            if target.adapter != BARE or target.base not in known
        ]
    return found


def home(config: EvalConfig) -> Path:
    """The folder of the report: --out, RUN/eval, or `eval` beside several runs."""
    if config.out is not None:
        return config.out
    if config.checkpoint is not None:
        return _run_of(config.checkpoint) / "eval"
    return (config.runs[0] if len(config.runs) == 1 else config.runs[0].parent) / "eval"


def _of_checkpoint(name: str, out: Path | None) -> list[Target]:
    found, run = resolve(name), _run_of(name)
    files = _predictions(run, out)
    bare = Target(BASE, run.name, None, found.base, name, BARE, files / f"{BASE}.jsonl")
    if found.adapter is None:
        return [bare]
    called = name if name == "demo" else found.adapter.name
    file, card = files / f"{called}.jsonl", read_card(found.adapter)
    return [bare, Target(called, run.name, _step(called), found.base, name, name, file, card)]


def _run_of(checkpoint: str) -> Path:
    """The run of a checkpoint, or runs/NAME for what lies in none: demo, a base, a hub id."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return Path("runs") / folder.name
    return folder.resolve().parent if _step(folder.resolve().name) is not None else folder


def _predictions(run: Path, out: Path | None) -> Path:
    return run / "eval" / "predictions" if out is None else out / "predictions" / run.resolve().name


def _of_run(run: Path, out: Path | None) -> list[Target]:
    checkpoints = list_checkpoints(run)
    if not checkpoints:
        raise FileNotFoundError(
            f"{run} holds no checkpoint-N folder: name a run that python -m training has made"
        )
    bases = [resolve(path).base for path in checkpoints]
    files, called = _predictions(run, out), run.resolve().name
    rows = [
        Target(
            name=path.name,
            run=called,
            step=_step(path.name),
            base=base,
            checkpoint=str(path),
            adapter=str(path),
            file=files / f"{path.name}.jsonl",
            card=read_card(path),
        )
        for path, base in zip(checkpoints, bases, strict=True)
    ]
    bare = replace(
        rows[0], name=BASE, step=None, adapter=BARE, file=files / f"{BASE}.jsonl", card=None
    )
    return [bare, *rows]


def _step(name: str) -> int | None:
    match = re.fullmatch(r"checkpoint-(\d+)", name)
    return int(match[1]) if match else None
