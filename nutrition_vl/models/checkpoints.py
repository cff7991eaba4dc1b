"""Checkpoints: their cards, their names, and error messages for those that are missing.

A checkpoint folder explains itself: adapter, processor and a card. A run folder holds
`checkpoint-N` folders and, once they have been compared, a text file `best` that names one.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from nutrition_vl import prompts

CARD = "nutrition_vl.json"
BEST = "best"
DEMO = Path(__file__).parents[1] / "demo"
ADAPTER_CONFIG = "adapter_config.json"  # PEFT's file name
MODEL_CONFIG = "config.json"  # transformers' file name


@dataclass(frozen=True)
class Card:
    """How an adapter was trained; `prompt` is a fingerprint, `max_tokens` the budget per photo."""

    base_model: str
    recipe: str
    step: int
    prompt: str
    max_tokens: int
    base_revision: str = "main"
    quantization: str = "nf4"
    attention: str = "sdpa"
    dataset: str = ""
    seed: int = 42
    git: str = ""
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    overridden: list[str] = field(default_factory=list)
    second_look: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A base (folder or hub id, at a revision), perhaps with an adapter, whose card names the
    quantisation and says whether detection takes a second look."""

    name: str
    base: str
    adapter: Path | None = None
    revision: str = "main"
    quantization: str = "nf4"
    second_look: bool = False


def write_card(folder: Path, card: Card) -> None:
    """Writes the card into a checkpoint folder."""
    (folder / CARD).write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path, check_prompt: bool = True) -> Card:
    """The card of a checkpoint folder.

    Raises FileNotFoundError without one, ValueError for a broken one and, unless `check_prompt` is
    False, for one whose adapter was trained with another prompt than this version's.
    """
    path = folder / CARD
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {CARD}: it was not saved by python -m training")
    card = Card(**_checked(_read_json(path), path))
    if check_prompt and card.prompt != prompts.fingerprint():
        raise ValueError(
            f"{folder} was trained with prompt {card.prompt} but this version says"
            f" {prompts.fingerprint()}: train it again, or use the version that trained it"
            f" ({card.git or 'unknown'})"
        )
    return card


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file") from error


def _checked(entries: Any, path: Path) -> dict[str, Any]:
    """The entries of a card: all known, all required ones there, each of its type."""
    if not isinstance(entries, dict):
        raise ValueError(f"{path} holds a {type(entries).__name__} instead of a JSON object")
    example, fields = asdict(Card("", "", 0, "", 0)), signature(Card).parameters
    wrong = {
        "lacks": {key for key, one in fields.items() if one.default is one.empty} - entries.keys(),
        "has the unknown": entries.keys() - example.keys(),
        "has a wrong type of": [
            key
            for key in entries.keys() & example.keys()
            if type(entries[key]) is not type(example[key])
        ],
    }
    for problem, keys in wrong.items():
        if keys:
            raise ValueError(f"{path} {problem} {', '.join(sorted(keys))}")
    return entries


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoint folders of a run in the order of their steps: 9, 271, 1000."""
    steps = {
        int(match[1]): path
        for path in run.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and path.is_dir()
    }
    return [steps[step] for step in sorted(steps)]


def best_checkpoint(run: Path) -> str | None:
    """The name of a run's best checkpoint, None without validation."""
    file = run / BEST
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def discover(runs: Path, base: str | None = None) -> list[str]:
    """Names of the adapters to choose from: the demo's and every checkpoint of the runs in `runs`.

    With `base`, only those trained on it. An unreadable one stays: choosing it shows the error.
    """
    folders = [runs, *sorted(path for path in runs.glob("*") if path.is_dir())]
    names = ["demo", *(str(path) for run in folders for path in list_checkpoints(run))]
    return [name for name in names if base is None or _may_fit(name, base)]


def _may_fit(name: str, base: str) -> bool:
    try:
        return resolve(name).base == base
    except (OSError, ValueError):
        return True


def resolve(name: str | Path, check_prompt: bool = True) -> Checkpoint:
    """The checkpoint of a name: demo, a run (its best checkpoint or last), a checkpoint, a base.

    Raises FileNotFoundError or ValueError with the reason and the remedy.
    """
    name = str(name)
    if name == "demo":
        return _with_adapter(name, DEMO / "adapter", check_prompt)
    folder = Path(name)
    if (folder / ADAPTER_CONFIG).is_file():
        return _with_adapter(name, folder, check_prompt)
    if (folder / MODEL_CONFIG).is_file():
        return Checkpoint(name, _base(name))
    if folder.is_dir():
        return _with_adapter(name, _chosen(folder), check_prompt)
    if _is_hub_id(name):
        return Checkpoint(name, name)
    raise FileNotFoundError(f"there is no checkpoint {name}: {_advice(folder.parent)}")


def resolve_adapter(name: str | Path, check_prompt: bool = True) -> tuple[Checkpoint, Path]:
    """The checkpoint of a name and its adapter's folder; raises like `resolve`, and ValueError for
    a base."""
    checkpoint = resolve(name, check_prompt)
    if checkpoint.adapter:
        return checkpoint, checkpoint.adapter
    if not Path(name).exists():  # `resolve` takes it for a base on the hub
        raise FileNotFoundError(f"there is no checkpoint {name}: {_advice(Path(name).parent)}")
    raise ValueError(f"{name} is a base without an adapter: name a run or a checkpoint")


def _with_adapter(name: str, folder: Path, check_prompt: bool) -> Checkpoint:
    if not (folder / ADAPTER_CONFIG).is_file():
        raise FileNotFoundError(f"{folder} lacks {ADAPTER_CONFIG}: {_advice(folder)}")
    card = read_card(folder, check_prompt)
    base = _base(card.base_model)
    return Checkpoint(name, base, folder, card.base_revision, card.quantization, card.second_look)


def _base(name: str) -> str:
    """One spelling for each base, so that two of them can be compared."""
    if name == "demo":
        return str(DEMO)
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _chosen(run: Path) -> Path:
    steps = {path.name: path for path in list_checkpoints(run)}
    if not steps:
        raise FileNotFoundError(f"{run} is neither a run nor a checkpoint: {_advice(run)}")
    best = best_checkpoint(run) or [*steps][-1]
    if best not in steps:
        raise FileNotFoundError(f"{run / BEST} names {best!r}, but there are {', '.join(steps)}")
    return steps[best]


def _is_hub_id(name: str) -> bool:
    """owner/name, unless `owner` is a folder here: then it is a path that is mistyped."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and not Path(name).parent.exists()


def _advice(folder: Path) -> str:
    """The content of a folder, and the next command."""
    here = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    there = f"{folder} holds {', '.join(here[:8]) or 'nothing'}" + (
        ", ..." if len(here) > 8 else ""
    )
    start = there if folder.is_dir() else f"there is no folder {folder}"
    return f"{start}; name demo, a run, a checkpoint or a base, or make one with python -m training"
