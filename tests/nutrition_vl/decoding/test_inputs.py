"""A photo's inputs are the processor's own, bit by bit, whichever way they are made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer
from transformers.vision_utils import get_vision_position_ids

from nutrition_vl import prompts
from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.family import ImageProcessor, Processor
from nutrition_vl.models.load import PixelBudget, load_processor
from nutrition_vl.models.pixel_budget import budget_of

PACKS = sorted((DEMO / "examples").glob("*.jpg"))
REAL = Path(__file__).parents[3].parent / "shared" / "data" / "real" / "images"
QWEN = REAL.parents[2] / "tokenizer"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BUDGETS = (PixelBudget(4, 600), PixelBudget(80, 100), PixelBudget(1, 9), PixelBudget(700, 1200))


def processor(budget: PixelBudget = BUDGETS[0]) -> Processor:
    return load_processor(DEMO / "adapter", budget)


def library(photo, of: Processor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The inputs by one plain call of the processor."""
    prompt = of.apply_chat_template(prompts.ask(), tokenize=False, add_generation_prompt=True)
    resized = budget_of(of).fit(photo, of.image_processor)
    inputs = of(text=[prompt], images=[resized], return_tensors="pt")
    grid = inputs["image_grid_thw"]
    return {
        "ids": inputs["input_ids"][0],
        "types": inputs["mm_token_type_ids"][0],
        "pixels": inputs["pixel_values"].to(dtype),
        "patch_positions": get_vision_position_ids(grid, of.image_processor.merge_size),
        "grid": grid,
    }


def assert_equal(photo, of: Processor, dtype: torch.dtype = torch.float32) -> None:
    ours = ModelInputs.from_photo(photo, of, dtype)
    for name, theirs in library(photo, of, dtype).items():
        tensor = getattr(ours, name)
        assert tensor.dtype == theirs.dtype and tensor.is_contiguous(), name
        assert tensor.equal(theirs), name


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_inputs_of_jpegs_equal_the_processors(budget, dtype):
    of = processor(budget)
    for file in PACKS:
        assert_equal(PhotoFile(file), of, dtype)


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (97, 3), (333, 777), (1021, 769), (56, 1500)])
@pytest.mark.parametrize("budget", BUDGETS[::2])
def test_inputs_of_pngs_of_odd_sizes_equal_the_processors(size, budget, tmp_path):
    if max(size) >= budget.max_tokens * min(size):
        pytest.skip("narrower than the budget allows")
    noise(*size).save(tmp_path / "noise.png")
    of = processor(budget)
    for dtype in DTYPES:
        assert_equal(PhotoFile(tmp_path / "noise.png"), of, dtype)


@pytest.mark.skipif(not REAL.exists(), reason="no real photos here")
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_real_photos_equal_the_processors(dtype):
    of = processor()
    for file in sorted(REAL.iterdir())[::5]:
        assert_equal(PhotoFile(file), of, dtype)


def test_the_known_processor_is_not_called(monkeypatch):
    of = processor()
    monkeypatch.setattr(Processor, "__call__", lambda *_, **__: pytest.fail("called"))
    assert len(ModelInputs.from_photo(noise(300, 400), of).ids) > 100


@pytest.mark.parametrize(
    "settings",
    [
        {"do_normalize": False},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
        {"image_mean": (0.1, 0.2, 0.3), "image_std": (1.0, 0.5, 0.7)},
        {"rescale_factor": 1 / 128},
        {"do_resize": False},
        {"temporal_patch_size": 1},
    ],
)
def test_each_setting_of_the_image_processor_is_respected(settings):
    of = processor()
    for name, value in settings.items():
        setattr(of.image_processor, name, value)
    assert_equal(noise(300, 400), of)
    assert_equal(noise(300, 400), of, torch.bfloat16)


def test_another_image_processor_makes_its_own_pixels():
    class Inverted(ImageProcessor):
        def patchify(self, *args, **options):
            values, *grid = super().patchify(*args, **options)
            return -values, *grid

    of = processor()
    plain = ModelInputs.from_photo(noise(300, 400), of)
    of.image_processor = Inverted(**of.image_processor.to_dict())
    assert_equal(noise(300, 400), of)
    assert ModelInputs.from_photo(noise(300, 400), of).pixels.equal(-plain.pixels)


def test_a_photo_that_the_processor_would_resize_again_is_left_to_it():
    of = processor(PixelBudget(7, 7))
    photo = noise(200, 200)  # 3 x 3 tokens are too many, and fewer too few
    assert_equal(photo, of)


@pytest.mark.skipif(not QWEN.exists(), reason="no vocabulary of Qwen here")
def test_ids_are_those_of_the_real_vocabulary():
    of = processor()
    tokenizer = AutoTokenizer.from_pretrained(QWEN)
    real = Processor(of.image_processor, tokenizer, of.video_processor, of.chat_template)
    assert_equal(noise(300, 400), real)
    ids = ModelInputs.from_photo(noise(300, 400), real).ids
    assert (ids == 151655).sum() == 14 * 11
