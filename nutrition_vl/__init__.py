"""Find nutrition tables on photos of food packages with a 4-bit Qwen2-VL and a LoRA adapter."""

__version__ = "0.1.0"
