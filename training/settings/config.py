"""The training's settings: one dataclass is the command line, the YAML file and the Python API."""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.utils import parse_flag_from_env
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig

from nutrition_vl.models.runtime import Runtime, detect_runtime
from training.settings.limits import check
from training.settings.own import OwnSettings
from training.settings.recipes import Recipe, adapted


def _other(name: str, default: Any) -> Any:
    """A field of SFTConfig with another default and the same help."""
    return field(default=default, metadata=dict(SFTConfig.__dataclass_fields__[name].metadata))


@dataclass
class TrainConfig(OwnSettings, SFTConfig):
    """Every setting of a training run; the defaults are the published recipe's (exp1a)."""

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
        """Replaces settings that a CPU cannot run; returns how and why."""
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
