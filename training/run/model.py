"""The base that the settings name, and the adapters that are trained on it."""

from peft import LoraConfig
from transformers import PreTrainedModel

from nutrition_vl.models.family import Config, Model
from nutrition_vl.models.load import load_base
from nutrition_vl.models.random_weights import is_random, random_base, skeleton
from nutrition_vl.models.runtime import use_expandable_segments
from training.run.folder import base_source
from training.settings.config import TrainConfig
from training.settings.recipes import lora_config


def model_shapes(config: TrainConfig) -> Model:
    """The base without its weights: every name and shape."""
    name = config.model_name_or_path
    return skeleton(name, base_source(name), config.model_revision)


def load(config: TrainConfig, shape: Config) -> PreTrainedModel:
    """The base that the settings ask for; with low memory part of it never reaches the GPU."""
    if config.runtime.device.type == "cuda":
        use_expandable_segments()
    name = config.model_name_or_path
    # Validation detects with the base as it is.
    offload = config.low_memory and not config.validation_photos
    if is_random(name):
        return random_base(shape, config.runtime, config.quantization, offload)
    source, revision = base_source(name), config.model_revision
    return load_base(source, config.runtime, revision, config.quantization, offload)


def adapters(config: TrainConfig) -> LoraConfig:
    """PEFT's configuration of the adapters that the settings ask for."""
    return lora_config(config.lora, config.lora_dropout, config.lora_bias)
