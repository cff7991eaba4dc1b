"""A disk that fills up while the commands answer: a real one of 256 KB."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nutrition_vl.batch.results import Results
from nutrition_vl.files import read_jsonl, write_atomically
from tests.helpers.packs import comparable, draw, streamed

ROOT = Path(__file__).parents[3]
PAGE = 4096


@pytest.fixture
def disk(tmp_path):
    """A disk in memory; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk, pages):
    """A file that leaves so many pages free."""
    free = os.statvfs(disk)
    (disk / "fill").write_bytes(bytes((free.f_bavail * free.f_bsize // PAGE - pages) * PAGE))


def run(*words):
    """The exit code of a command, and the last line on stderr."""
    environment = os.environ | {"RAY_worker_niceness": "0"}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_file_that_does_not_fit_leaves_the_old_one_and_takes_no_room(disk):
    write_atomically(disk / "file", "old")
    fill(disk, 1)
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomically(disk / "file", "new" * PAGE)
    assert raised.value.filename == str(disk / "file")
    assert sorted(os.listdir(disk)) == ["file", "fill"]
    assert (disk / "file").read_text() == "old"


@pytest.mark.slow
def test_one_process_keeps_the_lines_that_fit_and_goes_on_when_there_is_room(disk, small, tmp_path):
    photos = draw(tmp_path / ("long" * 50), 12, broken=0)  # so that a page holds a few lines
    out = disk / "answers.jsonl"
    words = ("nutrition_vl", photos, "--out", out, "--checkpoint", small, "--batch-size", "2")
    fill(disk, 2)  # one for the file's note
    message = f"nutrition_vl: {out} cannot be written: the disk is full, make room there"
    assert run(*words) == (2, message)
    lines = read_jsonl(out)
    assert 0 < len(lines) < 12
    (disk / "fill").unlink()
    code, stderr = run(*words)
    assert code == 0 and stderr.endswith(f"{len(lines)} were there before"), stderr
    rows = read_jsonl(out)
    assert rows[: len(lines)] == lines
    assert comparable(rows) == comparable([*streamed(small, photos).values()])


@pytest.mark.slow
def test_the_batch_command_keeps_its_parts_and_goes_on_when_there_is_room(disk, small, tmp_path):
    pytest.importorskip("ray")
    photos, out = draw(tmp_path / "photos", 8, broken=0), disk / "out"
    words = ("nutrition_vl.batch", photos, "--out", out, "--checkpoint", small)
    assert run(*words, "--limit", "3")[0] == 0
    before = Results(str(out)).rows()
    fill(disk, 0)
    code, stderr = run(*words)
    assert code == 2 and stderr.startswith(f"nutrition_vl.batch: {out}/part-"), stderr
    assert stderr.endswith(".parquet cannot be written: the disk is full, make room there")
    assert Results(str(out)).rows() == before and not Results(str(out)).finished
    (disk / "fill").unlink()
    code, stderr = run(*words)
    assert code == 0 and stderr.endswith("3 were there before"), stderr
    rows = Results(str(out)).rows()
    assert comparable(rows) == comparable([*streamed(small, photos).values()])
