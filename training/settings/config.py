"""The training's settings: one dataclass is the command line, the YAML file and the Python API."""

# ruff: noqa: RUF009 (dataclasses.field() is meant to be called here, and _own and _other call it)

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.utils import parse_flag_from_env
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig

from nutrition_vl.cli import LABEL
from nutrition_vl.data import DATASET
from nutrition_vl.models.load import BASE_MODEL
from nutrition_vl.models.quantization import QUANTIZATIONS
from nutrition_vl.models.runtime import ATTENTIONS, Runtime, detect_runtime
from training.settings.limits import check
from training.settings.recipes import INITS, RECIPES, Recipe, adapted


def _other(name: str, default: Any) -> Any:
    """A field of SFTConfig with another default and the same help."""
    return field(default=default, metadata=dict(SFTConfig.__dataclass_fields__[name].metadata))


def _own(default: Any, text: str, choices: Iterable[str] | None = None) -> Any:
    """A field of ours."""
    limits = {} if choices is None else {"choices": [*choices]}
    return field(default=default, metadata={"help": text} | limits)


@dataclass
class TrainConfig(SFTConfig):
    """Every setting of a training run; the defaults are the published recipe's (exp1a)."""

    model_name_or_path: str = _own(
        BASE_MODEL, "demo, a folder, a hub id, or random:7b and random:2b to see what fits"
    )
    model_revision: str = _own("main", "branch, tag or commit of a hub model")
    data_path: str = _own(
        DATASET, "labelled photos: a hub id, a folder or a file (see nutrition_vl/data)"
    )
    recipe: str = _own(
        "exp1a", "; ".join(f"{key}: {one.summary}" for key, one in RECIPES.items()), RECIPES
    )
    use_lora: bool = _own(
        True, "kept for compatibility; must be True (a 4-bit base cannot be trained)"
    )
    lora_r: int | None = _own(None, "rank of the adapters (default: the recipe's, 8)")
    lora_alpha: int | None = _own(
        None, "scale of the adapters times their rank (default: the recipe's, 16)"
    )
    lora_dropout: float = _own(0.05, "dropout of the adapters' inputs")
    lora_bias: str = _own("none", "which biases are trained too", ("none", "all", "lora_only"))
    lora_target_modules: list[str] | None = _own(
        None,
        "ends of module names, regular expressions, or all-linear (default: the recipe's)",
    )
    use_rslora: bool = _own(False, "rsLoRA: scale adapters by alpha / sqrt(rank)")
    use_dora: bool = _own(False, "DoRA: train magnitudes too; plain layers, slower")
    init_lora_weights: str = _own(
        "default", "first values; pissa and olora need --quantization none", INITS
    )
    loraplus_lr_ratio: float | None = _own(None, "LoRA+: learning rate of B over that of A")
    vision_learning_rate: float | None = _own(None, "learning rate in the vision tower and merger")
    merger_learning_rate: float | None = _own(None, "learning rate in the merger")
    quantization: str = _own(
        "nf4",
        "of the base: nf4 with double quantisation or single, int8, or none",
        QUANTIZATIONS,
    )
    attention: str = _own(
        "sdpa", "attention in training; sdpa is PyTorch's choice, never cuDNN's kernel", ATTENTIONS
    )
    max_image_tokens: int | None = _own(
        None,
        "most tokens per photo (default: the model's own; 600 for the hub's 16,384)",
    )
    limit: int | None = _own(None, "train on the first N photos only")
    corrections: str | None = _own(
        None, "corrections.jsonl of python -m eval.audit, applied to data_path"
    )
    label: str | None = _own(None, f"{LABEL} (default: the data's only class)")
    validation_photos: int = _own(
        0, "score every checkpoint on N photos; the file best names the best by mean IoU"
    )
    validation_path: str | None = _own(
        None, "photos for validation (default: the val split of data_path)"
    )
    patience: int = _own(0, "stop after N checkpoints without a better score (default: never)")
    cache_features: bool = _own(
        True, "compute each photo's visual features once, unless the vision tower is trained"
    )
    features_dir: str | None = _own(
        None, "folder of visual features, for later runs too (default: features next to the run)"
    )
    plain: bool = _own(
        False, "TRL and PEFT alone: no feature cache, lean layers, regrouping or CUDA graphs"
    )
    lean_layers: bool = _own(
        True, "decoder layers with a hand-written backward pass: less memory, fewer kernels"
    )
    regroup_batches: bool = _own(
        True, "split each step into the largest micro-batches that fit into memory"
    )
    memory_limit: float | None = _own(
        None,
        "GB of memory to use (default: nine tenths of the free, 4.6 with --low_memory True)",
    )
    low_memory: bool = _own(
        False,
        "keep embeddings and output matrix in CPU memory; slower, disables CUDA graphs",
    )
    log_memory: bool = _own(
        False, "log allocated, reserved and peak memory of each step to metrics.jsonl"
    )
    warmup_ratio: float | None = _own(
        None, "share of the steps to warm up in; same as --warmup_steps below 1"
    )
    overwrite: bool = _own(False, "start again in an output folder that holds a run")
    override: bool = _own(
        False, "resume although settings or data differ from the checkpoint's; its card lists them"
    )
    preflight_only: bool = _own(False, "check everything, train nothing")

    output_dir: str | None = _other("output_dir", "runs/qlora")
    num_train_epochs: float = _other("num_train_epochs", 7)
    per_device_train_batch_size: int = _other("per_device_train_batch_size", 1)
    gradient_accumulation_steps: int = _other("gradient_accumulation_steps", 4)
    learning_rate: float = _other("learning_rate", 1e-4)
    lr_scheduler_type: str = _other("lr_scheduler_type", "cosine")
    warmup_steps: float = _other("warmup_steps", 0.03)
    weight_decay: float = _other("weight_decay", 0.01)
    max_grad_norm: float = _other("max_grad_norm", 0.3)
    optim: str = _other("optim", "paged_adamw_8bit")
    bf16: bool | None = _other("bf16", True)
    logging_steps: float = _other("logging_steps", 1)
    save_strategy: str = _other("save_strategy", "epoch")
    report_to: str = _other("report_to", "none")
    max_length: int | None = _other("max_length", None)  # TRL's 1024 would cut image tokens
    remove_unused_columns: bool | None = _other("remove_unused_columns", False)  # made on access
    ddp_find_unused_parameters: bool | None = _other("ddp_find_unused_parameters", False)
    # No buffer changes, and those of a tower that was parked on the CPU cannot be sent.
    ddp_broadcast_buffers: bool | None = _other("ddp_broadcast_buffers", False)
    disable_tqdm: bool | None = _other("disable_tqdm", False)  # else by transformers' log level
    logging_nan_inf_filter: bool = _other("logging_nan_inf_filter", False)

    def __post_init__(self) -> None:
        check(vars(self), self.__dataclass_fields__)
        self.command = ""
        self.runtime = detect_runtime("cpu" if self.use_cpu else "auto", self.attention)
        self._check_machine()
        if self.log_memory:
            self.logging_steps = 1
        if self.warmup_ratio is not None:
            self.warmup_steps = self.warmup_ratio
        self.completion_only_loss = self.lora.answer_only
        self.gradient_checkpointing_kwargs = {"use_reentrant": False}
        self.fallback = self._fall_back(self.runtime)
        with warnings.catch_warnings():  # gradient_checkpointing is called otherwise from 6 on
            warnings.simplefilter("ignore", FutureWarning)
            super().__post_init__()

    @property
    def lora(self) -> Recipe:
        """The recipe with the flags that override it."""
        return adapted(
            self.recipe,
            self.lora_target_modules,
            self.lora_r,
            self.lora_alpha,
            rslora=self.use_rslora,
            dora=self.use_dora,
            init=self.init_lora_weights,
        )

    @property
    def own_rates(self) -> bool:
        """True where some weights have a learning rate of their own."""
        return any((self.loraplus_lr_ratio, self.vision_learning_rate, self.merger_learning_rate))

    @property
    def features(self) -> Path:
        """The folder of visual features."""
        return Path(self.features_dir or Path(str(self.output_dir)).parent / "features")

    @property
    def corrected(self) -> Path | None:
        """The file of corrections; FileNotFoundError if it is not there."""
        if self.corrections and not Path(self.corrections).is_file():
            raise FileNotFoundError(
                f"there is no file {self.corrections} of --corrections: eval.audit makes one"
            )
        return Path(self.corrections) if self.corrections else None

    def report(self, words: str) -> None:
        """Prints them, in the first process only."""
        if self.process_index == 0:
            print(words, flush=True)

    def _check_machine(self) -> None:
        if self.runtime.optimizer is None:
            raise ValueError(f"training is impossible here: {self.runtime.reason}")
        if self.runtime.device.type == "cuda" and not self.bf16:
            raise ValueError("on a GPU adapters are trained in bfloat16: leave out --bf16 False")
        if self.attention == "flash_attention_2" and not is_flash_attn_2_available():
            raise ValueError(
                "flash_attention_2 is in the package flash-attn, which is not installed: "
                "use --attention sdpa or pip install flash-attn"
            )

    def _fall_back(self, runtime: Runtime) -> str:
        """Replaces what a CPU cannot do; returns how and why."""
        if runtime.device.type != "cpu":
            return runtime.reason
        wanted, reason = str(self.optim), runtime.reason
        self.use_cpu, self.bf16 = True, False
        if "paged" in wanted or "8bit" in wanted:
            self.optim = str(runtime.optimizer)
            reason += f", so {self.optim} instead of {wanted}"
        if parse_flag_from_env("ACCELERATE_USE_CPU") and "WORLD_SIZE" not in os.environ:
            reason += "; one process, as always with accelerate launch --cpu: --multi_gpu has more"
        return reason
