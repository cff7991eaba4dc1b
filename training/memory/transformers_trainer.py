"""The report's baseline: transformers' own Trainer, which computes all logits."""

from pathlib import Path

from peft import get_peft_model
from torch.nn.attention import sdpa_kernel
from transformers import Trainer, set_seed
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from nutrition_vl.data import load_split
from nutrition_vl.models.random_weights import skeleton
from training.examples.examples import to_examples
from training.run.callbacks import MetricsLog
from training.run.folder import base_source, load_fitting_processor
from training.run.model import adapters, load
from training.run.trainer import NOT_CUDNN
from training.settings.cli import parse

if __name__ == "__main__":
    config = parse()
    run, name = Path(str(config.output_dir)), config.model_name_or_path
    run.mkdir(parents=True)
    shape = skeleton(name, base_source(name), config.model_revision).config
    processor = load_fitting_processor(config)
    set_seed(config.seed)
    trainer = Trainer(
        get_peft_model(load(config, shape), adapters(config)),
        config,
        DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True),
        to_examples(load_split(config.data_path, "train"), processor),
        callbacks=[MetricsLog(config)],
    )
    with sdpa_kernel(NOT_CUDNN):
        trainer.train()
