"""The README cannot go stale: its commands parse, its links and its tree exist."""

import re
import shlex
from pathlib import Path

import pytest

import app
from eval import config as evaluation
from eval import ocr
from eval.audit import __main__ as audit
from nutrition_vl import __main__ as command
from nutrition_vl import calibrate, export
from nutrition_vl.batch import __main__ as batch
from nutrition_vl.bench import __main__ as bench
from nutrition_vl.data import __main__ as labels
from training import average, merge
from training.demo_model import __main__ as demo_model
from training.memory import __main__ as memory
from training.render import __main__ as render
from training.settings import cli as settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PACKAGES = {"nutrition_vl", "training", "eval"}
# What reads each command's options; all leave with an error for an option they do not have.
PARSERS = {
    "app.py": lambda options: app.parser().parse_args(options),
    "nutrition_vl": lambda options: command.parser().parse_args(options),
    "nutrition_vl.batch": lambda options: batch.parser().parse_args(options),
    "nutrition_vl.bench": lambda options: bench.parser().parse_args(options),
    "nutrition_vl.calibrate": lambda options: calibrate.parser().parse_args(options),
    "nutrition_vl.data": lambda options: labels.parser().parse_args(options),
    "nutrition_vl.export": lambda options: export.parser().parse_args(options),
    "training": settings.parse,
    "training.average": lambda options: average.parser().parse_args(options),
    "training.demo_model": lambda options: demo_model.parser().parse_args(options),
    "training.memory": lambda options: settings.parse(memory.parser().parse_known_args(options)[1]),
    "training.merge": lambda options: merge.parser().parse_args(options),
    "training.render": lambda options: render.parser().parse_args(options),
    "eval": evaluation.parse,
    "eval.audit": lambda options: audit.parser().parse_args(options),
    "eval.ocr": lambda options: ocr.parser().parse_args(options),
}


def commands():
    """The arguments of every bash line that runs something of ours: [module, argument, ...]."""
    lines = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if "-m" in words[:-1] and words[words.index("-m") + 1].partition(".")[0] in PACKAGES:
            yield words[words.index("-m") + 1 :]  # accelerate's own options stand before
        elif "app.py" in words:
            yield words[words.index("app.py") :]


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


def test_every_room_is_in_the_tree():
    rooms = {path.parent for package in PACKAGES for path in (ROOT / package).glob("*/__init__.py")}
    assert {f"{room.relative_to(ROOT).as_posix()}/" for room in rooms} <= set(tree())


def test_the_prose_is_short():
    """Sentences outside of code, tables and headings."""
    other = r"^```.*?^```$|^\|.*?$|^#.*?$|!?\[|\]\([^)]*\)|<[^>]+>"
    prose = re.sub(other, " ", README, flags=re.DOTALL | re.MULTILINE)
    sentences = [text.split() for text in re.split(r"[.:;!?](?:\s|$)|\n\s*\n|\n\* ", prose)]
    lengths = [len(words) for words in sentences if len(words) > 2]
    assert 300 < sum(lengths) <= 1200
    assert sum(lengths) / len(lengths) <= 18


@pytest.mark.parametrize(
    "command", re.findall(r"^\|[^|]*\| `python -m ([^`]*)`", README, re.MULTILINE)
)
def test_commands_of_the_table_parse(command):
    module, *options = shlex.split(command)
    PARSERS[module](options)
