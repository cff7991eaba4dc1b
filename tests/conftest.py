"""The real demo, loaded once, and small photos of several shapes."""

import shutil

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from nutrition_vl.checkpoints import DEMO
from nutrition_vl.detector import Detector
from nutrition_vl.photos import open_photo


def pytest_addoption(parser):
    """Adds --repin, for whoever changes the embedded base."""
    parser.addoption("--repin", action="store_true", help="write golden numbers anew")


@pytest.fixture(scope="session")
def demo():
    """The embedded checkpoint on the CPU, in 4 bit, with its adapter."""
    return Detector.load("demo", device="cpu")


def pack(width, height, colour):
    """A flat package with a white panel of lines on it."""
    photo = Image.new("RGB", (width, height), colour)
    pen = ImageDraw.Draw(photo)
    pen.rectangle((width // 4, height // 4, width // 2, height // 2), fill="white", outline="black")
    for y in range(height // 4, height // 2, max(4, height // 40)):
        pen.line((width // 4, y, width // 2, y), fill="black")
    return photo


@pytest.fixture(scope="session")
def photos():
    """Three photos: upright, lying, and square."""
    return [pack(180, 240, "#b91c1c"), pack(320, 140, "#1d4ed8"), pack(150, 150, "#15803d")]


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
    folder = tmp_path_factory.mktemp("run") / "checkpoint-1"
    shutil.copytree(DEMO / "adapter", folder)
    weights = load_file(folder / "adapter_model.safetensors")
    generator = torch.Generator().manual_seed(0)
    noisy = {
        name: torch.randn(weight.shape, generator=generator).mul(0.5).to(weight.dtype)
        if "lora_B" in name
        else weight
        for name, weight in weights.items()
    }
    save_file(noisy, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return str(folder)
