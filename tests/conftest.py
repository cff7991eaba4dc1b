"""The real demo, loaded once, and small photos of several shapes."""

import pytest
from PIL import Image, ImageDraw

from nutrition_vl.detector import Detector


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
