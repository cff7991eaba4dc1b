"""The demo with 80 tokens per photo, as a checkpoint on disk."""

import shutil

import pytest

from nutrition_vl.models.checkpoints import DEMO


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    from nutrition_vl.models.load import PixelBudget, load_processor

    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    shutil.copytree(DEMO / "adapter", folder)
    load_processor(folder, PixelBudget(80, 80)).save_pretrained(folder)
    return folder
