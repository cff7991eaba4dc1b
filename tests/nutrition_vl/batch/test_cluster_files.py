"""The files for clusters are what their programs read, and each line says what it does."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from nutrition_vl.batch.__main__ import parser
from training.settings import cli as settings

SCALE = Path(__file__).parents[3] / "docs" / "scale"
BARE = r"\s*(- )?[\w-]+:$"  # a key whose value follows on the next lines


@pytest.mark.parametrize("file", ["cluster.yaml", "kuberay.yaml"])
def test_every_line_with_a_value_has_its_comment(file):
    lines = (SCALE / file).read_text().splitlines()
    assert lines[0].startswith("# ")
    assert [line for line in lines[1:] if " # " not in line and not re.match(BARE, line)] == []


def test_ray_up_reads_the_cluster():
    pytest.importorskip("ray")
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    validate_config(fillout_defaults(yaml.safe_load((SCALE / "cluster.yaml").read_text())))


def test_the_kuberay_job_runs_our_command():
    job = yaml.safe_load((SCALE / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "nutrition_vl.batch"]
    assert parser().parse_args(words[3:]).address == "auto"
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(group["template"]["spec"]["containers"][0]["image"] for group in groups)


def test_slurm_starts_training_on_each_machine():
    script = SCALE / "train.slurm"
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    lines = script.read_text().splitlines()
    assert all(" # " in line for line in lines if line.startswith("#SBATCH"))
    words = shlex.split(shlex.split(lines[-1])[-1])
    options = words[words.index("training") + 1 :]
    assert settings.parse(options).output_dir == "runs/two_machines"
