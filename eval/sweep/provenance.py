"""What predictions are of, noted beside them, so that nothing else is ever mixed in."""

import json
from dataclasses import asdict
from glob import escape
from pathlib import Path
from typing import Any

from eval.config import EvalConfig
from eval.sweep.targets import BARE, Target
from nutrition_vl import prompts
from nutrition_vl.confidence import Calibration
from nutrition_vl.data import DATASET
from nutrition_vl.models.checkpoints import resolve

ELSE = "move that file away, or choose another --out"


def note(target: Target, config: EvalConfig) -> dict[str, Any]:
    """What a row's predictions would be of now; ValueError where its file has those of another.

    An older note may lack what is noted today: then that is taken to be as it is.
    """
    now = _noted(target, config)
    if not any(target.file.parent.glob(f"{escape(target.file.name)}*")):  # nor a part of it
        return now
    before = _read(target.file)
    if not before:
        raise ValueError(f"nothing says what {target.file} was predicted with: {ELSE}")
    for key, value in now.items():
        if before.get(key, value) != value:
            raise ValueError(
                f"{target.file} was predicted with {key} {before[key]}, now it is {value}: {ELSE}"
            )
    return now


def write(target: Target, noted: dict[str, Any]) -> None:
    """Puts a note beside the row's predictions, unless it is there."""
    if _read(target.file) != noted:
        text = json.dumps(noted, indent=2) + "\n"
        _beside(target.file).write_text(text, encoding="utf-8")


def _noted(target: Target, config: EvalConfig) -> dict[str, Any]:
    data = str(config.data or DATASET)
    adapter = resolve(target.adapter).adapter if target.adapter != BARE else None
    return {
        "data": str(Path(data).resolve()) if Path(data).exists() else data,
        "split": config.split,
        "prompt": prompts.fingerprint(),
        "differs": list(target.differs),
        "weights": _weights(target.base, adapter),
        "calibration": asdict(Calibration.load(adapter) if adapter else Calibration()),
    }


def _weights(base: str, adapter: Path | None) -> list[str]:
    """Size and time of each local weights file: training anew changes them."""
    folders = [folder for folder in (Path(base), adapter) if folder and folder.is_dir()]
    found = [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]
    return [f"{file.name} {file.stat().st_size} {file.stat().st_mtime:.0f}" for file in found]


def _beside(file: Path) -> Path:
    return file.with_suffix(".json")


def _read(file: Path) -> dict[str, Any]:
    """The note beside a predictions file, empty where there is none that can be read."""
    try:
        found = json.loads(_beside(file).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
