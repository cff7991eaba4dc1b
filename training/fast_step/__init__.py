"""A hand-written forward and backward pass for frozen layers with LoRA."""
