"""The README cannot go stale: its commands parse, its links and its tree exist."""

import re
import shlex
from pathlib import Path

import pytest

import app
import eval.audit
import eval.ocr
import nutrition_vl.__main__
import nutrition_vl.bench
import nutrition_vl.calibrate
import training.config
import training.demo_model
import training.memory
import training.merge
import training.render.__main__
from eval import config as evaluation

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
# What reads each command's options; all leave with an error for an option they do not have.
PARSERS = {
    "app.py": lambda options: app.parser().parse_args(options),
    "nutrition_vl": lambda options: nutrition_vl.__main__.parser().parse_args(options),
    "training": training.config.parse,
    "training.demo_model": lambda options: training.demo_model.parser().parse_args(options),
    "training.render": lambda options: training.render.__main__.parser().parse_args(options),
    "eval": evaluation.parse,
}


def commands():
    """The arguments of every bash line that runs something of ours: [module, argument, ...]."""
    lines = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if word != "-m"]
        if len(words) > 1 and words[1].partition(".")[0] in {"app", *PARSERS}:
            yield words[1:]


def links():
    return re.findall(r"\]\((?!https?://|#)([^)#]+)", README)


def tree():
    """Every path of the tree, with the folder a line stands in."""
    folder = ""
    for line in dict(BLOCKS)[""].splitlines():
        name = line.removeprefix("├── ").removeprefix("└── ").split()[0]
        inside = line.startswith(("├", "└"))
        folder = folder if inside else name
        yield folder + name if inside else name


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_parse(command):
    PARSERS[command[0]](command[1:])


def test_every_number_is_measured():
    assert "TO MEASURE" not in README


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", links())
def test_linked_files_exist(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("path", tree())
def test_the_tree_is_what_is_there(path):
    assert (ROOT / path).exists()


def test_every_file_of_the_core_is_in_the_tree():
    files = {f"nutrition_vl/{path.name}" for path in (ROOT / "nutrition_vl").glob("*.py")}
    assert files - set(tree()) == {"nutrition_vl/__init__.py"}
