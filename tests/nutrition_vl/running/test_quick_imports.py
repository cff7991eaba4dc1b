"""Stand-ins for modules that the command does not use: the same boxes, and a way back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PHOTO = "nutrition_vl/demo/examples/pack_1.jpg"
COMMAND = f"""
import sys
from nutrition_vl.running import quick_imports
from nutrition_vl.__main__ import main
quick_imports.UNUSED += {{more}}
code = quick_imports.run(lambda: main(["--device", "cpu", "{PHOTO}", *{{options}}]))
names = [name for name, module in sys.modules.items() if type(module).__name__ != "StandIn"]
print(*names, sep="\\n", file=sys.stderr)
"""


def python(code, **environment):
    command = [sys.executable, "-c", code]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


@pytest.mark.slow
def test_the_boxes_are_the_same_without_modules_that_detection_does_not_use():
    quick, imported = python(COMMAND.format(more=[], options=[]))
    plain, everything = python(COMMAND.format(more=[], options=[]), NUTRITION_VL_STAND_INS="0")
    assert quick.partition('"seconds"')[0] == plain.partition('"seconds"')[0] != ""
    unused = {"torch._dynamo.eval_frame", "torch.distributed.tensor", "scipy.optimize"}
    unused |= {"torchvision.models.resnet", "supervision.annotators.core"}
    assert unused <= everything and not unused & imported


@pytest.mark.slow
def test_the_drawn_photo_is_the_same(tmp_path):
    for name, switch in (("quick", "1"), ("plain", "0")):
        options = ["--draw", str(tmp_path / name)]
        python(COMMAND.format(more=[], options=options), NUTRITION_VL_STAND_INS=switch)
    quick, plain = ((tmp_path / name / "pack_1.jpg").read_bytes() for name in ("quick", "plain"))
    assert quick == plain


@pytest.mark.slow
def test_a_command_whose_imports_fail_starts_again_without_stand_ins():
    lines, imported = python(COMMAND.format(more=["safetensors"], options=[]))
    assert lines.count('"boxes": [{') == 1 and "safetensors.torch" in imported


def test_what_is_called_after_all_is_real():
    code = """
from nutrition_vl.running.quick_imports import FINDER
FINDER.put()
from scipy.special import expit
from scipy.optimize import minimize
from scipy.sparse import csr_array
import scipy.spatial as spatial
assert not isinstance(0, csr_array) and spatial.KDTree(0) is not None
assert expit(len) is len
FINDER.importing = False
assert abs(minimize(lambda x: (x[0] - 2) ** 2, [0.0]).x[0] - 2) < 1e-3, "not taken for a decorator"
assert expit(0.0) == 0.5
from scipy.special import logit
assert logit(0.5) == 0.0
"""
    python(code)
