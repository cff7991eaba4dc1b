"""House rules read off the source: imports point one way, facts have one home, files are small."""

import ast
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = sorted(
    path
    for place in ("app.py", "nutrition_vl", "training", "eval")
    for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
)
SOURCE = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PRODUCT}

# What each module of the core may import of the core.
ALLOWED = {
    "__init__": set(),
    "decoding": set(),
    "boxes": set(),
    "runtime": set(),
    "memory": set(),
    "prompts": {"boxes"},
    "draw": {"boxes"},
    "photos": set(),
    "formats": {"boxes"},
    "corrections": {"boxes", "formats"},
    "sources": {"formats", "photos"},
    "data": {"boxes", "corrections", "formats", "photos", "sources"},
    "checkpoints": {"prompts"},
    "storage": {"runtime"},
    "model": {"runtime", "storage"},
    "architectures": {"checkpoints", "model", "runtime"},
    "decoding.grammar": {"boxes"},
    "decoding.products": set(),
    "decoding.attention": {"decoding.products"},
    "decoding.slots": set(),
    "decoding.vision": {"decoding.products"},
    "decoding.graphs": set(),
    "decoding.questions": {"model", "prompts"},
    "decoding.rows": {"decoding.grammar"},
    "decoding.decode": {
        "decoding.attention",
        "decoding.grammar",
        "decoding.graphs",
        "decoding.questions",
        "decoding.rows",
        "decoding.slots",
        "decoding.vision",
    },
    "decoding.plain": {"decoding.grammar", "decoding.questions", "decoding.rows"},
    "confidence": {"decoding.rows"},
    "answers": {"boxes", "confidence", "decoding.rows"},
    "adapters": {"checkpoints", "confidence", "model"},
    "flow": set(),
    "decoding.overflow": set(),
    "detector": {
        "adapters",
        "answers",
        "checkpoints",
        "confidence",
        "decoding.decode",
        "flow",
        "decoding.grammar",
        "decoding.graphs",
        "model",
        "decoding.overflow",
        "photos",
        "decoding.plain",
        "decoding.questions",
        "decoding.rows",
        "runtime",
    },
    "command": set(),
    "__main__": {"answers", "detector", "draw", "photos", "command"},
    "calibrate": {"checkpoints", "confidence", "data", "detector", "command"},
    "measure": {
        "adapters",
        "decoding.decode",
        "detector",
        "decoding.graphs",
        "photos",
        "decoding.plain",
        "decoding.questions",
        "decoding.rows",
    },
    "bench": {
        "architectures",
        "checkpoints",
        "detector",
        "measure",
        "model",
        "photos",
        "command",
        "runtime",
    },
}

# What only one file may say.
HOMES = {
    "BitsAndBytesConfig(": "nutrition_vl/storage.py",
    "LoraConfig(": "training/recipes.py",
    "ForConditionalGeneration.from_pretrained(": "nutrition_vl/model.py",
    "AutoModelForImageTextToText.from_pretrained(": "nutrition_vl/model.py",
    "Processor.from_pretrained(": "nutrition_vl/model.py",
    "import gradio": "app.py",
    "CUDAGraph(": "nutrition_vl/decoding/graphs.py",
    "past_key_values": "nutrition_vl/decoding/decode.py",
}
# Nothing but vocabulary: there is no logic in it to be read.
DATA_ONLY = {"training/render/words.py"}
# The embedded tokenizer has to list the special tokens it is built with.
BOX_TOKENS = {"nutrition_vl/boxes.py", "training/tiny.py"}


def imported(source: str) -> set[str]:
    """Every module a file names in an import, at the top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(source: str) -> set[str]:
    return {name.split(".")[0] for name in imported(source)}


@pytest.mark.parametrize("path", [path for path in SOURCE if path.startswith("nutrition_vl/")])
def test_the_core_imports_one_way(path):
    dotted = {name.removeprefix("nutrition_vl.") for name in imported(SOURCE[path])}
    files = {name: ROOT / "nutrition_vl" / f"{name.replace('.', '/')}.py" for name in dotted}
    ours = {name for name, file in files.items() if file.exists()}
    module = Path(path).relative_to("nutrition_vl").with_suffix("").as_posix().replace("/", ".")
    assert ours <= ALLOWED[module.removesuffix(".__init__")]
    assert not packages(SOURCE[path]) & {"training", "eval", "app"}


@pytest.mark.parametrize(
    ("folder", "forbidden"), [("training/", {"eval", "app"}), ("eval/", {"training", "app"})]
)
def test_training_and_evaluation_do_not_know_each_other(folder, forbidden):
    for path, source in SOURCE.items():
        if path.startswith(folder):
            assert not packages(source) & forbidden, path


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, nutrition_vl; print(*{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(("words", "home"), HOMES.items())
def test_a_fact_has_one_home(words, home):
    assert {path for path, source in SOURCE.items() if words in source} <= {home}


def test_the_box_tokens_are_spelled_in_one_place():
    assert {path for path, source in SOURCE.items() if "box_start" in source} <= BOX_TOKENS


def test_no_code_of_strangers_is_run():
    asked = {path for path, source in SOURCE.items() if "trust_remote_code" in source}
    assert not asked


@pytest.mark.parametrize("path", sorted(SOURCE.keys() - DATA_ONLY))
def test_files_and_functions_stay_small(path):
    lines = SOURCE[path].count("\n")
    assert lines <= 250
    for node in ast.walk(ast.parse(SOURCE[path])):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("package", ["nutrition_vl", "training", "eval"])
def test_what_is_installed_has_every_file(package):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"].get(package, [])
    listed = subprocess.run(["git", "ls-files", package], cwd=ROOT, capture_output=True, text=True)
    names = [name.removeprefix(f"{package}/") for name in listed.stdout.splitlines()]
    lost = [name for name in names if not any(fnmatch(name, one) for one in ("*.py", *patterns))]
    assert names and not lost
