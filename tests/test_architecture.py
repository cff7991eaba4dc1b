"""House rules read off the source: imports point one way, facts have one home, files are small."""

import ast
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"nutrition_vl", "training", "eval"}
PRODUCT = sorted(
    path
    for place in ("app.py", "nutrition_vl", "training", "eval")
    for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
)
SOURCE = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PRODUCT}

# Room -> the rooms of the project it may import. A room is a folder, or a file beside the folders.
CORE = """
running files boxes matching prompts confidence draw cli models data decoding answer looks detector
""".split()
ROOMS = {
    "nutrition_vl": "",
    "training": "",
    "eval": "",
    "nutrition_vl.running": "files models prompts",
    "nutrition_vl.cli": "running",
    "nutrition_vl.files": "",
    "nutrition_vl.boxes": "",
    "nutrition_vl.matching": "",
    "nutrition_vl.prompts": "boxes",
    "nutrition_vl.draw": "boxes",
    "nutrition_vl.confidence": "",
    # The readers and the toolbox that they share are one room in two folders.
    "nutrition_vl.data": "boxes cli nutrition_vl.data.formats",
    "nutrition_vl.data.formats": "boxes data",
    "nutrition_vl.models": "confidence prompts",
    "nutrition_vl.decoding.kernels": "models",
    "nutrition_vl.decoding": "nutrition_vl.decoding.kernels boxes models prompts",
    "nutrition_vl.answer": "boxes confidence decoding models",
    "nutrition_vl.looks": "answer confidence data decoding models",
    "nutrition_vl.detector": "nutrition_vl.decoding.kernels answer confidence decoding looks models"
    " running",
    "nutrition_vl.__main__": "answer cli data detector draw models running",
    "nutrition_vl.calibrate": "cli confidence data detector looks matching models",
    "nutrition_vl.batch": "nutrition_vl.data.formats answer cli data decoding detector export files"
    " looks models running",
    "nutrition_vl.bench": "nutrition_vl.decoding.kernels cli files data decoding detector models"
    " running",
    "training.settings": "CORE",
    "training.examples": "CORE",
    "training.fast_step": "CORE nutrition_vl.decoding.kernels examples",
    "training.plan": "CORE settings examples fast_step",
    "training.run": "CORE settings examples plan",
    "training.memory": "CORE settings examples fast_step plan run",
    "training.merge": "CORE run",
    "training.average": "CORE run",
    "training.__main__": "CORE settings plan run",
    "training.render.layout": "",
    "training.render.package": "render.layout",
    "training.render.negatives": "render.layout render.package",
    "training.render.faces": "render.layout render.package render.negatives",
    "training.render.camera": "CORE render.faces",
    "training.render": "CORE render.camera render.layout render.negatives",
    "training.demo_model": "CORE render render.camera render.negatives",
    "eval.perturb": "",
    "eval.config": "CORE perturb",
    "eval.predictions": "CORE nutrition_vl.batch nutrition_vl.data.formats",
    "eval.metrics": "CORE predictions",
    "eval.report": "CORE predictions metrics",
    "eval.sweep": "CORE config perturb predictions report",
    "eval.audit": "CORE config predictions metrics report sweep",
    "eval.ocr": "CORE sweep",
    "eval.__main__": "CORE config report sweep",
    "nutrition_vl.export": "boxes cli data files looks",
    "nutrition_vl.page": "CORE export",
    "training.page": "CORE",
    "eval.page": "CORE nutrition_vl.page config report sweep",
    "app": "CORE nutrition_vl.page training.page eval.page",
}

# What only one file may say.
HOMES = {
    "BitsAndBytesConfig(": "nutrition_vl/models/quantization.py",
    "LoraConfig(": "training/settings/recipes.py",
    ".model.from_pretrained(": "nutrition_vl/models/load.py",
    ".processor.from_pretrained(": "nutrition_vl/models/load.py",
    "CUDAGraph(": "nutrition_vl/decoding/kernels/cuda_graphs.py",
    "past_key_values": "nutrition_vl/decoding/decoder.py",
}

# The embedded tokenizer has to list the special tokens it is built with.
BOX_TOKENS = {"nutrition_vl/boxes.py", "training/demo_model/architecture.py"}


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


def room(module: str) -> str:
    """The folder that holds a module, or the module itself where it lies beside the folders."""
    path = ROOT / module.replace(".", "/")
    if path.is_dir():
        return module
    folder = module.rpartition(".")[0]
    if not path.with_suffix(".py").exists():  # a name inside a module
        return room(folder)
    return module if folder in {"", *PACKAGES} else folder


def allowed(name: str) -> set[str]:
    package = name.split(".")[0]
    rooms: set[str] = set()
    for word in ROOMS[name].split():
        if word == "CORE":
            rooms |= {f"nutrition_vl.{one}" for one in CORE}
        else:
            full = word.startswith(("nutrition_vl.", "training.", "eval."))
            rooms.add(word if full else f"{package}.{word}")
    return rooms


@pytest.mark.parametrize("path", SOURCE)
def test_rooms_import_one_way(path):
    own = room(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    ours = {name for name in imported(SOURCE[path]) if name.split(".")[0] in PACKAGES}
    used = {room(name) for name in ours} - {own, *PACKAGES}
    assert used <= allowed(own)


def exists(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_every_module_of_ours_that_is_imported_exists():
    for path, source in SOURCE.items():
        ours = {name for name in imported(source) if name.split(".")[0] in PACKAGES}
        lost = {one for one in ours if not exists(one) and not exists(one.rpartition(".")[0])}
        assert not lost, path  # mypy ignores missing imports


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, nutrition_vl; print(*{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(("words", "home"), HOMES.items())
def test_a_fact_has_one_home(words, home):
    assert {path for path, source in SOURCE.items() if words in source} == {home}


def test_gradio_is_known_to_the_page_alone():
    pages = ("app.py", "nutrition_vl/page/", "training/page.py", "eval/page.py")
    users = [path for path, source in SOURCE.items() if "gradio" in packages(source)]
    assert users
    assert [path for path in users if not path.startswith(pages)] == []


def test_the_box_tokens_are_spelled_in_one_place():
    assert {path for path, source in SOURCE.items() if "box_start" in source} <= BOX_TOKENS


def test_no_code_of_strangers_is_run():
    asked = {path for path, source in SOURCE.items() if "trust_remote_code" in source}
    assert not asked


@pytest.mark.parametrize("path", sorted(SOURCE))
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


def test_a_room_has_at_most_13_files():
    files = [path for path in SOURCE if "/" in path]
    rooms = {path.rpartition("/")[0] for path in files}
    sizes = {room: sum(path.rpartition("/")[0] == room for path in files) for room in rooms}
    assert {room: size for room, size in sizes.items() if size > 13} == {}
