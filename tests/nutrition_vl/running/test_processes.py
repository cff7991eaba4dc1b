"""One process among several; test_distributed.py shares a sweep for real."""

import errno
import sys

import pytest

from nutrition_vl.running.processes import Processes


def test_one_process_predicts_every_batch():
    alone = Processes("cpu")
    assert alone.is_main
    assert alone.share([0, 1, 2], 2) == [[0, 1], [2]]


def test_processes_share_whole_batches():
    alone = Processes("cpu")
    alone.index, alone.count = 1, 2
    assert alone.share([0, 1, 2, 3, 4], 2) == [[2, 3]]


def test_two_commands_never_write_to_one_folder(tmp_path):
    with Processes("cpu").only_command([tmp_path]):
        other = Processes("cpu").only_command([tmp_path])
        with pytest.raises(ValueError, match=f"another command is writing to {tmp_path}"), other:
            pass
    with Processes("cpu").only_command([tmp_path]):
        pass


def test_without_file_locks_nothing_is_locked(tmp_path, monkeypatch):
    def unable(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch, Processes("cpu").only_command([tmp_path]):
        patch.setattr("fcntl.flock", unable)
        with Processes("cpu").only_command([tmp_path]):
            pass
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with (
        Processes("cpu").only_command([tmp_path]),
        Processes("cpu").only_command([tmp_path]),
    ):
        pass
