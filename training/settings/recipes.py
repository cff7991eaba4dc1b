"""Named recipes: the layers that get a LoRA adapter and the words of a chat that are learned."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass(frozen=True)
class Recipe:
    """LoRA on the modules that `targets` name, of this rank and scale (alpha / rank).

    A target is a regular expression for the end of a module's name: `q_proj` is every q_proj.
    """

    targets: tuple[str, ...]
    summary: str = ""
    rank: int = 8
    alpha: int = 16
    answer_only: bool = True
    rslora: bool = False  # alpha / sqrt(rank), arXiv:2312.03732
    dora: bool = False  # arXiv:2402.09353
    init: str = "default"


QV = ("q_proj", "v_proj")
LANGUAGE = ("[qkvo]_proj", "(gate|up|down)_proj")
VISION = (r"visual\.blocks\.\d+\.attn\.(qkv|proj)", r"visual\.blocks\.\d+\.mlp\.fc[12]")

MERGER = r"visual\.merger\.mlp\.[02]"
ALL_LINEAR = (*LANGUAGE, *VISION, MERGER)
CHANGE_THE_BASE = ("pissa", "olora")  # these inits take their values out of its weights
INITS = ("default", "gaussian", *CHANGE_THE_BASE)

# exp1a, exp1b and exp2 are the experiments of kulsoom-abdullah/qwen2-vl-nutrition-detection. `best`
# trains what the two best published results on this data set have in common: all linear layers of
# the language model and of the vision tower.
RECIPES = {
    "exp1a": Recipe(QV, "q and v, loss on the answer"),
    "exp1b": Recipe(QV, "q and v, loss on all text", answer_only=False),
    "exp2": Recipe((*QV, r"visual\.blocks\.\d+\.attn\.qkv"), "q, v and qkv of the vision tower"),
    "best": Recipe((*LANGUAGE, *VISION), "all linear layers but the merger", rank=16, alpha=32),
    "vision": Recipe(ALL_LINEAR, "all linear layers, the merger too", rank=16, alpha=32),
}


def adapted(
    name: str,
    targets: Sequence[str] | None,
    rank: int | None,
    alpha: int | None,
    **variant: Any,
) -> Recipe:
    """The recipe of this name with other targets, rank, alpha or variant of LoRA.

    ValueError for a target that is no regular expression.
    """
    recipe = RECIPES[name]
    if list(targets or ()) == ["all-linear"]:
        targets = ALL_LINEAR
    for target in targets or ():
        _check_expression(target)
    return replace(
        recipe,
        targets=tuple(targets or recipe.targets),
        rank=recipe.rank if rank is None else rank,
        alpha=recipe.alpha if alpha is None else alpha,
        **variant,
    )


def pattern(targets: Sequence[str]) -> str:
    """One regular expression for the full names of the modules that any of the targets matches.

    PEFT takes a regular expression only as a string: in a list it expects names, and a regular
    expression there silently matches nothing.
    """
    return rf"(?:.*\.)?(?:{'|'.join(targets)})"


def _check_expression(target: str) -> None:
    try:
        re.compile(pattern([target]))
    except re.error as error:
        raise ValueError(
            f"--lora_target_modules {target} is no regular expression ({error.msg}): "
            "write the end of a module's name, such as q_proj"
        ) from error


def lora_config(recipe: Recipe, dropout: float, bias: str) -> "LoraConfig":
    """PEFT's configuration of a recipe."""
    from peft import LoraConfig  # here: it takes seconds, which --help need not wait for

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=dropout,
        bias=bias,
        target_modules=pattern(recipe.targets),
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        init_lora_weights=True if recipe.init == "default" else recipe.init,
    )
