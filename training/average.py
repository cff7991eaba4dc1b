"""Averages the adapters of several checkpoints into one, which detects and scores like any other.

examples:
  python -m training.average runs/a runs/b runs/c --out runs/mean
  python -m training.average runs/a/checkpoint-200 runs/a/checkpoint-271 --rank 8 --out runs/mean

The mean is that of the updates B A, not of A and B. It is exact where ranks add up (the default: n
adapters of rank r become one of rank n r). With --rank it is the best approximation of that rank,
and the command prints its error.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nutrition_vl.cli import command, described, folder, positive

if TYPE_CHECKING:
    from torch import Tensor

    from nutrition_vl.models.checkpoints import Card

    Factors = dict[str, tuple[Tensor, Tensor]]  # module -> A (rank, in), B (out, rank)

SAME = ("base_model", "base_revision", "prompt", "max_tokens")
PLAIN = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")


def average(names: Sequence[str], out: Path, rank: int | None = None) -> float:
    """Saves the mean of adapters; returns its relative error, 0 without `rank`.

    ValueError for adapters of different bases, prompts or modules.
    """
    # Imported here, as below: it takes seconds, which --help need not wait for.
    from peft import LoraConfig
    from safetensors.torch import save_file

    from nutrition_vl.models.checkpoints import read_card, resolve_adapter, write_card
    from nutrition_vl.models.load import ADAPTER_WEIGHTS, load_processor
    from training.run.model_card import write_model_card

    if len(names) < 2:
        raise ValueError(f"there is nothing to average in {names[0]}: name two checkpoints or more")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name another --out")
    folders = [resolve_adapter(name)[1] for name in names]
    cards = [read_card(place) for place in folders]
    _check_same(names, cards)
    configs = [LoraConfig.from_pretrained(str(place)) for place in folders]
    adapters = [read_factors(*pair) for pair in zip(folders, configs, strict=True)]
    mean, error = mean_factors(adapters, rank)
    out.mkdir(parents=True, exist_ok=True)
    weights = {}
    for module, (down, up) in mean.items():
        weights[f"{module}.lora_A.weight"] = down.contiguous()
        weights[f"{module}.lora_B.weight"] = up.contiguous()
    save_file(weights, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = configs[0]
    config.r = config.lora_alpha = len(down)  # a scale of 1
    config.use_rslora = False
    config.save_pretrained(out)
    load_processor(folders[0]).save_pretrained(out)
    words = [*names, "--out", str(out), *(["--rank", str(rank)] if rank else [])]
    command = shlex.join(["python", "-m", "training.average", *words])
    card = replace(cards[0], command=command)
    write_card(out, card)
    write_model_card(out, card, out)
    return error


def read_factors(place: Path, config: Any) -> "Factors":
    """Returns the adapter's A and B per module, B with the adapter's scale.

    ValueError for adapters that are more than A and B.
    """
    from safetensors.torch import load_file

    from nutrition_vl.models.load import ADAPTER_WEIGHTS

    weights = load_file(place / ADAPTER_WEIGHTS)
    ends = ".lora_A.weight", ".lora_B.weight"
    modules = {key.removesuffix(ends[0]) for key in weights if key.endswith(ends[0])}
    if len(weights) != 2 * len(modules) or any(getattr(config, name, None) for name in PLAIN):
        raise ValueError(f"{place} trains more than plain LoRA, whose mean is not defined here")
    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    return {
        name: (weights[name + ends[0]].float(), scale * weights[name + ends[1]].float())
        for name in sorted(modules)
    }


def mean_factors(adapters: "Sequence[Factors]", rank: int | None = None) -> "tuple[Factors, float]":
    """Returns the mean update's A and B per module, and its relative error (Frobenius norm)."""
    import torch

    if any(adapter.keys() != adapters[0].keys() for adapter in adapters):
        raise ValueError("these adapters are on different modules: average those of one recipe")
    mean, lost, total = {}, 0.0, 0.0
    for module in adapters[0]:
        down = torch.cat([adapter[module][0] for adapter in adapters])
        up = torch.cat([adapter[module][1] for adapter in adapters], dim=1) / len(adapters)
        if rank is not None:
            # The SVD of a product of thin matrices is that of a small one between two rotations.
            (left, small_up), (right, small_down) = torch.linalg.qr(up), torch.linalg.qr(down.T)
            turn, sizes, turn_back = torch.linalg.svd(small_up @ small_down.T)
            up = left @ turn[:, :rank] * sizes[:rank]
            down = turn_back[:rank] @ right.T
            lost += sizes[rank:].square().sum().item()
            total += sizes.square().sum().item()
        mean[module] = (down, up)
    return mean, (lost / total) ** 0.5 if total else 0.0


def _check_same(names: Sequence[str], cards: "Sequence[Card]") -> None:
    for name, card in zip(names[1:], cards[1:], strict=True):
        for key in SAME:
            first, other = getattr(cards[0], key), getattr(card, key)
            if first != other:
                raise ValueError(
                    f"{name} has {key} {other} and {names[0]} has {first}: average checkpoints of "
                    "one base and prompt"
                )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("training.average", __doc__)
    add = options.add_argument
    add("checkpoints", nargs="+", help="demo, runs or checkpoints, two or more")
    add("--out", type=folder, required=True, help="folder to make")
    add("--rank", type=positive, help="of the mean (default: exact, the sum of their ranks)")
    return options


def _run(options: argparse.Namespace) -> None:
    error = average(options.checkpoints, options.out, options.rank)
    print(json.dumps({"checkpoint": str(options.out), "relative_error": round(error, 6)}))


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
