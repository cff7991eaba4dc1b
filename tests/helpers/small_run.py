"""The smallest run that trains: the embedded base on the CPU, four steps of two tiny photos."""

from nutrition_vl.files import read_jsonl

TABLE = [(0.25, 0.25, 0.75, 0.5)]
SETTINGS = {
    "model_name_or_path": "demo",
    "use_cpu": True,
    "max_image_tokens": 16,
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": 2,
    "max_steps": 4,
    "save_strategy": "steps",
    "save_steps": 2,
    "learning_rate": 0.01,
}


def command(data, run, **settings):
    """The words of a command line that trains on `data` into `run`."""
    words = SETTINGS | {"data_path": data, "output_dir": run} | settings
    return [word for key, value in words.items() for word in (f"--{key}", str(value))]


def losses(run):
    """Each step of a run with its loss."""
    return [(row["step"], row["loss"]) for row in read_jsonl(run / "metrics.jsonl")]
