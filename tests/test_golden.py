"""Golden outputs: option names of every command, and the embedded model's boxes and scores."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

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


def test_the_report_of_stored_predictions_stays_word_for_word(tmp_path, capsys):
    from eval.__main__ import main

    stored = GOLDEN / "report"
    truth = json.loads((stored / "instances.json").read_text())
    for entry in truth["images"]:
        Image.new("RGB", (entry["width"], entry["height"])).save(tmp_path / entry["file_name"])
    data = shutil.copy(stored / "instances.json", tmp_path)
    files = [str(stored / f"{name}.jsonl") for name in ("steady", "eager")]
    words = ["--predictions", *files, "--data", data, "--threshold", "0.4"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert flat(line) == pytest.approx(flat(json.loads((stored / "line.json").read_text())))
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    golden = (stored / "report.md").read_text(encoding="utf-8")
    assert report.replace(data, "DATA") == golden


def flat(value, name=""):
    """Every number and word of nested JSON by its place."""
    if not isinstance(value, dict | list):
        return {name: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: one for at, inner in pairs for key, one in flat(inner, f"{name}/{at}").items()}
