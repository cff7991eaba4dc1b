"""What a run may go on from; test_training.py kills one and goes on for real."""

import pytest

from tests.helpers.labelled import label
from tests.helpers.small_run import TABLE, command
from training.__main__ import main

WHOLE = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth")


@pytest.mark.parametrize("lost", WHOLE)
def test_a_checkpoint_that_lost_its_state_is_refused(lost, tmp_path, capsys):
    """transformers would begin optimiser and schedule anew, in silence."""
    data, checkpoint = label(tmp_path / "set", [TABLE]), tmp_path / "run" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    for name in {*WHOLE} - {lost}:
        (checkpoint / name).touch()
    for asked in (True, checkpoint):
        assert main(command(data, tmp_path / "run", resume_from_checkpoint=asked)) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"{checkpoint} lacks {lost.split('.')[0]}" in said
        assert "resume from another checkpoint or start again" in said
