"""Learning rates by part of the model and of the adapters, as parameter groups."""

from collections.abc import Iterable

from torch import nn

from training.settings.config import TrainConfig


def parameter_groups(model: nn.Module, config: TrainConfig, decayed: set[str]) -> list[dict]:
    """The trained weights by learning rate and weight decay; `decayed` names those that decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            key = _rate(name, config), config.weight_decay if name in decayed else 0.0
            groups.setdefault(key, []).append(weight)
    return [
        {"params": weights, "lr": rate, "weight_decay": decay}
        for (rate, decay), weights in groups.items()
    ]


def check_rates(config: TrainConfig, trained: Iterable[str]) -> None:
    """ValueError for a learning rate of a part in which no module of these names is trained."""
    names = [f".{name}." for name in trained]
    for setting, part in (("vision", ".visual."), ("merger", ".visual.merger.")):
        rate = f"{setting}_learning_rate"
        if getattr(config, rate) and not any(part in name for name in names):
            raise ValueError(f"--{rate} needs an adapter there: use --recipe vision")


def _rate(name: str, config: TrainConfig) -> float:
    rate = config.learning_rate
    if ".visual." in name:
        rate = config.vision_learning_rate or rate
    if ".visual.merger." in name:
        rate = config.merger_learning_rate or rate
    # LoRA+ (arXiv:2402.12354): B learns faster than A.
    return rate * (config.loraplus_lr_ratio or 1) if ".lora_B." in name else rate
