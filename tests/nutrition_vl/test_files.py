"""The commit that results name."""

import subprocess
from pathlib import Path

from nutrition_vl import files


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", "-C", str(folder), *names, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_of_changed_code_is_called_dirty(tmp_path, monkeypatch):
    module = tmp_path / "files.py"
    monkeypatch.setattr(files, "__file__", str(module))
    assert files.git_commit() == ""
    module.write_text("1")
    git(tmp_path, "init", "-q")
    assert files.git_commit() == ""
    git(tmp_path, "add", "files.py")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert files.git_commit() == commit
    module.write_text("2")
    assert files.git_commit() == f"{commit}-dirty"
