"""Fine-tunes Qwen2-VL on labelled photos: `python -m training --help`."""
