"""The real demo, loaded once, and small photos of several shapes.

What takes seconds to import is imported where it is used: pytest-xdist's own process reads this
file too, before it starts those that test.
"""

import gc
import shutil

import pytest

from nutrition_vl.data.photos import open_photo
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.running.threads import share_cores

share_cores()  # tests run next to other work

TOKENS = 100  # a photo, not the demo's 200 to 300: answers take half the time


def pytest_addoption(parser):
    """Adds --repin, for whoever changes the embedded base."""
    parser.addoption("--repin", action="store_true", help="write golden numbers anew")


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no process is left alone with one at the end."""
    for item in items:
        if "demo" in item.fixturenames:
            item.add_marker("model")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """What is imported by now stays: nobody need look through it for garbage, 0.3 s each time."""
    gc.freeze()


def pytest_unconfigure():
    """At the end Python would call it a leak."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def pages_apart(tmp_path_factory):
    """Gradio keeps equal pictures in one file and writes it anew while another process reads it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="session")
def demo():
    """The embedded checkpoint on the CPU, in 4 bit, with its adapter, fewer tokens, one look."""
    from nutrition_vl.detector import Detector
    from nutrition_vl.models.load import PixelBudget

    detector = Detector.load("demo", device="cpu", second_look=False)
    for name in ("demo", "none"):
        pictures = detector._adapters[name].processor.image_processor
        pictures.size = PixelBudget(80, TOKENS).size(pictures)
    return detector


@pytest.fixture(scope="session")
def photos():
    """Three small photos of packs: upright, lying, and square."""
    sizes = {"pack_1": (180, 240), "pack_2": (320, 140), "pack_5": (150, 150)}
    files = {DEMO / "examples" / f"{name}.jpg": size for name, size in sizes.items()}
    return [open_photo(file).resize(size) for file, size in files.items()]


@pytest.fixture(scope="session")
def photo(photos):
    return photos[0]


@pytest.fixture(scope="session")
def table():
    """A photo with a table that the demo finds."""
    return open_photo(DEMO / "examples" / "pack_1.jpg")


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """A second adapter on the demo's base, whose B is noise, so that it answers otherwise."""
    import torch
    from safetensors.torch import load_file, save_file

    from nutrition_vl.models.load import PixelBudget, load_processor

    folder = tmp_path_factory.mktemp("run") / "checkpoint-1"
    shutil.copytree(DEMO / "adapter", folder)
    load_processor(folder, PixelBudget(80, TOKENS)).save_pretrained(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    generator = torch.Generator().manual_seed(0)
    noisy = {
        name: torch.randn(weight.shape, generator=generator).to(weight.dtype)
        if "lora_B" in name
        else weight
        for name, weight in weights.items()
    }
    save_file(noisy, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return str(folder)
