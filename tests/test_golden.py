"""Golden outputs: option names of every command, and the embedded model's boxes and scores."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = "nutrition_vl/demo/examples"
OPTIONS = json.loads((GOLDEN / "options.json").read_text())
LINES = (GOLDEN / "command.jsonl").read_text().splitlines()


def python(*words):
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def options(text):
    """Option names in a help text."""
    heads = [re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if "--" in line]
    return {name for head in heads for name in re.findall(r"(?<![\w-])--[A-Za-z]\w*[\w-]*", head)}


@pytest.mark.parametrize("module", sorted(OPTIONS.keys() - {"training"}))
def test_every_option_keeps_its_name(module):
    folder = (ROOT / module.replace(".", "/")).is_dir()
    file = f"{module}.__main__" if folder else module
    code = f"from {file} import main; main(['--help'])"
    assert set(OPTIONS[module]) <= options(python("-c", code))


@pytest.mark.slow
def test_every_setting_of_the_training_keeps_its_name():
    from training.settings.unused import UNUSED

    hidden = {f"--{name}" for name in UNUSED} | {f"--no_{name}" for name in UNUSED}
    names = options(python("-m", "training", "--help_all"))
    assert set(OPTIONS["training"]) - hidden <= names


@pytest.mark.slow
def test_the_embedded_model_finds_the_same_boxes():
    lines = python("-m", "nutrition_vl", EXAMPLES, "--device", "cpu").splitlines()
    for line, golden in zip(map(json.loads, lines), map(json.loads, LINES), strict=True):
        assert line.keys() == golden.keys()
        assert line["photo"] == golden["photo"] and line["text"] == golden["text"]
        for box, other in zip(line["boxes"], golden["boxes"], strict=True):
            assert box["xyxy"] == pytest.approx(other["xyxy"], abs=0.2)
            assert box["confidence"] == pytest.approx(other["confidence"], abs=0.002)
