"""The techniques that the memory report compares: words of training's command line."""

from dataclasses import dataclass
from typing import Literal

# What the published recipe does: one photo at a time, four a step, everything anew in each epoch.
PLAIN = (
    "--cache_features False --lean_layers False --regroup_batches False "
    "--per_device_train_batch_size 1 --gradient_accumulation_steps 4"
)


@dataclass(frozen=True)
class Technique:
    """A row of the report: the settings it adds to PLAIN, and whose trainer it runs in.

    `transformers` computes all logits, `trl` those of labelled tokens, with adapters in bfloat16.
    """

    key: str
    name: str
    words: str
    trainer: Literal["transformers", "trl", "ours"] = "ours"


EAGER = "--attention eager --gradient_checkpointing False --optim adamw_torch"
SDPA = "--gradient_checkpointing False --optim adamw_torch"
SEEN = "--cache_features True"
BATCH = f"{SEEN} --regroup_batches True"
LEAN = f"{BATCH} --lean_layers True"
FAST = f"{LEAN} --memory_limit 7.9"

TECHNIQUES = (
    Technique("bf16", "16-bit base", f"{EAGER} --quantization none", "transformers"),
    Technique("nf4-single", "NF4", f"{EAGER} --quantization nf4-single", "transformers"),
    Technique("nf4", "double quantisation", EAGER, "transformers"),
    Technique("sdpa", "SDPA attention", SDPA, "transformers"),
    Technique("checkpoint", "checkpointing", "--optim adamw_torch", "transformers"),
    Technique("adamw8", "paged 8-bit AdamW", "", "transformers"),
    Technique("trl", "logits of answers only: TRL's recipe", "", "trl"),
    Technique("precise", "adapters in float32", ""),
    Technique("seen", "visual features once, tower and words off the GPU", SEEN),
    Technique("batch", "micro-batch of 4", f"{BATCH} --memory_limit 40"),
    Technique("fast", "lean layers, within 8 GB", FAST),
    Technique("most", "lean layers, 40 GB", f"{LEAN} --memory_limit 40"),
    Technique(
        "trl-batch",
        "TRL's recipe, 4 x 1",
        "--per_device_train_batch_size 4 --gradient_accumulation_steps 1",
        "trl",
    ),
    Technique(
        "trl-flash", "TRL's recipe, flash attention 2", "--attention flash_attention_2", "trl"
    ),
    Technique("fused", "fast, 32-bit fused AdamW", f"{FAST} --optim adamw_torch_fused"),
    Technique(
        "all-linear",
        "fast, LoRA on all linear layers",
        f"{FAST} --lora_target_modules [qkvo]_proj (gate|up|down)_proj",
    ),
    Technique("vision", "fast, LoRA in the vision tower too", f"{FAST} --recipe exp2"),
    Technique("tokens-300", "fast, 300 image tokens", f"{FAST} --max_image_tokens 300"),
    Technique("tokens-1200", "fast, 1200 image tokens", f"{FAST} --max_image_tokens 1200"),
    Technique("low", "low memory", f"{LEAN} --low_memory True"),
)
