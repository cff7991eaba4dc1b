"""A run's plan: how it fits its memory. Chosen once, before any weight is loaded."""

from collections import Counter
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field

from nutrition_vl.models.family import Model
from training.plan.usage import GIB
from training.settings.config import TrainConfig


@dataclass(frozen=True)
class Workload:
    """A run's shapes: the model without weights, parameters trained per module, the longest row.

    `tokens`, `patches` and `labels` are the largest of any row, `image_tokens` those of all photos.
    """

    model: Model
    trained: Counter[str]
    tokens: int
    patches: int
    labels: int
    image_tokens: int = 0


@dataclass(frozen=True)
class Plan:
    """How a run saves time and memory.

    `notes` give the reason for each engine that is off, `forecast` the bytes by part at the peak of
    a step. A fast layer computes its activations again in the backward pass unless it is one of the
    last `layers_kept`.
    """

    micro_batch: int  # photos
    accumulation: int  # micro-batches per step
    cache_features: bool = False
    fast_layers: bool = False
    cuda_graphs: bool = False
    layers_kept: int = 0
    offload_embeddings: bool = False
    offload_lm_head: bool = False
    notes: tuple[str, ...] = ()
    forecast: Mapping[str, float] = field(default_factory=dict)

    @property
    def own_loss(self) -> bool:
        """True where `fast_step.answer_loss` computes the loss, False where TRL does."""
        return self.fast_layers or self.offload_lm_head

    @property
    def memory(self) -> float:
        """Bytes at the peak of a step."""
        return sum(self.forecast.values())

    @property
    def memory_by_part(self) -> str:
        """The forecast in words."""
        parts = ", ".join(f"{part} {size / GIB:.2f}" for part, size in self.forecast.items())
        return f"{self.memory / GIB:.2f} GiB ({parts})"

    def arguments(self, config: TrainConfig) -> TrainConfig:
        """Returns a copy of the settings with the plan's micro-batches, for the trainer."""
        arguments = copy(config)
        arguments.per_device_train_batch_size = self.micro_batch
        arguments.gradient_accumulation_steps = self.accumulation
        return arguments

    def __str__(self) -> str:
        engines = {
            "visual features computed once": self.cache_features,
            f"fast layers, {self.layers_kept} keep activations": self.fast_layers,
            "CUDA graphs": self.cuda_graphs,
            "embeddings on the CPU": self.offload_embeddings,
            "output matrix on the CPU": self.offload_lm_head,
        }
        step = f"{self.accumulation} x {self.micro_batch} photos per step"
        return ", ".join([step, *(name for name, on in engines.items() if on)])
