"""A checkpoint's README is enough for people who do not have this project."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nutrition_vl import prompts
from nutrition_vl.detector import Detector
from nutrition_vl.matching import iou
from nutrition_vl.models.checkpoints import DEMO, read_card
from tests.helpers.labelled import label
from tests.helpers.small_run import TABLE, command
from training.__main__ import main
from training.run.folder import base_name
from training.run.model_card import write_model_card

ROOT = Path(__file__).parents[3]
PACK = DEMO / "examples" / "pack_1.jpg"


@pytest.fixture
def checkpoint(tmp_path):
    """The embedded adapter with the README that training would write."""
    folder = shutil.copytree(DEMO / "adapter", tmp_path / "run" / "checkpoint-9")
    card = replace(read_card(folder), step=9)
    for place in (folder, folder.parent):
        write_model_card(place, card, folder.parent)
    return folder


@pytest.mark.slow
def test_the_snippet_of_the_readme_prints_the_boxes_of_the_detector(checkpoint):
    snippets = [
        re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
        for folder in (checkpoint, checkpoint.parent)
    ]
    assert snippets[0] == snippets[1]
    code = snippets[0].replace("PHOTO", str(PACK))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    boxes = np.array([[int(edge) for edge in line.split()] for line in done.stdout.splitlines()])
    (answer,) = Detector.load("demo", device="cpu").detect([PACK])
    assert boxes.shape == answer.detections.xyxy.shape
    assert iou(boxes, answer.detections.xyxy).diagonal() == pytest.approx(1, abs=0.1)


def test_a_readme_has_the_prompt_word_by_word_and_the_licence(checkpoint):
    text = (checkpoint / "README.md").read_text()
    assert text.startswith("---\nbase_model: demo\nlibrary_name: peft\nlicense: apache-2.0\n")
    assert prompts.SYSTEM in text and prompts.USER in text
    assert "Licence: apache-2.0" in text


def test_a_downloaded_base_keeps_its_hub_id(tmp_path):
    folder = tmp_path / "models--Qwen--Qwen2-VL-2B-Instruct" / "snapshots" / ("0a" * 20)
    folder.mkdir(parents=True)
    assert base_name(str(folder)) == "Qwen/Qwen2-VL-2B-Instruct"
    assert base_name(str(tmp_path)) == str(tmp_path)
    assert base_name("demo") == "demo"


@pytest.mark.parametrize("base", ["demo", "random:7b", str(DEMO)])
def test_an_adapter_of_a_base_that_is_only_here_is_not_pushed(base, tmp_path, capsys):
    data = label(tmp_path / "set", [TABLE])
    asked = {"model_name_or_path": base, "push_to_hub": True}
    assert main(command(data, tmp_path / "run", **asked)) == 2
    assert f"an adapter of {base} works nowhere else" in capsys.readouterr().err
