"""Identifies predictions by content: weights, settings, prompt and data become a key of the file.

Predictions of anything else have another key and so another file. Nothing is ever mixed, and a
copied run or data set finds its predictions again.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.config import EvalConfig
from nutrition_vl import prompts
from nutrition_vl.data import DATASET
from nutrition_vl.files import write_atomically
from nutrition_vl.running.resume import contents

if TYPE_CHECKING:  # which imports this file
    from eval.sweep.targets import Target


def provenance(target: "Target", config: EvalConfig) -> dict[str, Any]:
    """Everything a row's predictions depend on but the photos, whose hash is in each line."""
    model = target.checkpoint
    own = contents(str(model.adapter or model.base), model.revision)
    if target.card is None:  # the base without adapter, with the adapter's processor
        own = {name: digest for name, digest in own.items() if "processor" in name}
    data = Path(config.data or DATASET)
    return {
        "base": contents(model.base, model.revision),
        "checkpoint": own,
        "quantization": target.quantization,
        "prompt": prompts.fingerprint(),
        "data": data.resolve().name if data.exists() else str(data),  # wherever it lies
        "split": config.split,
    }


def key_of(entries: dict[str, Any]) -> str:
    """Eight digits that change with any entry."""
    return sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:8]


def read_differs(file: Path) -> list[str]:
    """The settings that differed from the card when a predictions file was written.

    ValueError where the file does not say.
    """
    if not file.exists():
        return []
    try:
        return json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["differs"]
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} has no provenance file ({file.stem}.json), so it cannot be resumed: move it,"
            " or choose another --out"
        ) from error


def write_provenance(file: Path, entries: dict[str, Any], differs: list[str]) -> None:
    """Writes the meaning of a predictions file's key next to it."""
    write_atomically(
        file.with_suffix(".json"), json.dumps(entries | {"differs": differs}, indent=2) + "\n"
    )
