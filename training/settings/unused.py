"""TRL's and transformers' settings that have no effect here, or cannot work, and why.

They are not in --help; giving one another value than its default is refused.
"""

REASONS = {
    "checkpoints are compared by --validation_photos or python -m eval": (
        "eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only "
        "eval_on_start eval_do_concat_batches eval_use_gather_object eval_accumulation_steps "
        "eval_packing include_for_metrics batch_eval_metrics bf16_full_eval fp16_full_eval "
        "load_best_model_at_end metric_for_best_model greater_is_better do_train do_eval do_predict"
    ),
    "examples are made of labelled photos, one per row": (
        "packing packing_strategy padding_free pad_to_multiple_of dataset_text_field "
        "dataset_kwargs dataset_num_proc max_length truncation_mode label_names length_column_name "
        "remove_unused_columns chat_template_path eos_token pad_token"
    ),
    "--recipe decides which words are learned, by the negative log-likelihood": (
        "completion_only_loss assistant_only_loss loss_type label_smoothing_factor "
        "router_aux_loss_coef"
    ),
    "the base is loaded by --model_name_or_path and --quantization": (
        "model_init_kwargs use_cache"
    ),
    "only adapters are trained, on a base whose embeddings may be cached": (
        "neftune_noise_alpha optim_target_modules torch_compile torch_compile_backend "
        "torch_compile_mode activation_offloading"
    ),
    "use --gradient_checkpointing": (
        "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing_kwargs"
    ),
    "the plan chooses the micro-batch: use --regroup_batches and --memory_limit": (
        "auto_find_batch_size"
    ),
    "a resumed run goes on with the next photos": "ignore_data_skip enable_jit_checkpoint",
    "several GPUs share a base by training/configs/accelerate/fsdp_qlora.yaml": (
        "deepspeed parallelism_config fsdp fsdp_config"
    ),
}
UNUSED = {name: reason for reason, names in REASONS.items() for name in names.split()}
