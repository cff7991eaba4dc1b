"""The techniques that the memory report compares, as words of training's command line."""

# The published recipe takes four photos per step, one at a time.
COMMON = (
    "--per_device_train_batch_size 1 --gradient_accumulation_steps 4 --regroup_batches False "
    "--save_strategy no --logging_steps 1 --log_memory True --disable_tqdm True"
)
TRL = "--plain True"  # TRL's own trainer
EAGER = f"{TRL} --attention eager --gradient_checkpointing False --optim adamw_torch"
FOUR = "--per_device_train_batch_size 4 --gradient_accumulation_steps 1"
WHOLE = f"{FOUR} --gradient_checkpointing False"
LIGER = "--use_liger_kernel True"
BATCH = "--lean_layers False --regroup_batches True --memory_limit 40"
FAST = "--regroup_batches True --memory_limit 7.9"

# key -> name, settings
TECHNIQUES = {
    "bf16": ("16-bit base", f"{EAGER} --quantization none"),
    "nf4-single": ("NF4", f"{EAGER} --quantization nf4-single"),
    "nf4": ("double quantisation", EAGER),
    "sdpa": ("SDPA attention", f"{EAGER} --attention sdpa"),
    "adamw32": ("checkpointing", f"{TRL} --optim adamw_torch"),
    "transformers": ("transformers' Trainer, all logits", TRL),
    "trl": ("TRL, checkpointing, paged 8-bit AdamW", TRL),
    "trl-batch": ("TRL, checkpointing, 4 x 1", f"{TRL} {FOUR}"),
    "trl-whole": ("TRL, no checkpointing, 4 x 1", f"{TRL} {WHOLE}"),
    "trl-liger": ("TRL, no checkpointing, Liger, 4 x 1", f"{TRL} {WHOLE} {LIGER}"),
    "seen": ("visual features once", "--lean_layers False"),
    "batch": ("visual features once, micro-batch of 4", BATCH),
    "batch-whole": ("the same, no checkpointing", f"{BATCH} --gradient_checkpointing False"),
    "batch-liger": ("and Liger", f"{BATCH} --gradient_checkpointing False {LIGER}"),
    "fast": ("fast layers, within 8 GB", FAST),
    "most": ("fast layers, 40 GB", "--regroup_batches True --memory_limit 40"),
    "all-linear": (
        "fast, LoRA on all linear layers",
        f"{FAST} --lora_target_modules [qkvo]_proj (gate|up|down)_proj",
    ),
    "vision": ("fast, LoRA in the vision tower too", f"{FAST} --recipe exp2"),
    "low": ("low memory", "--regroup_batches True --low_memory True"),
}
