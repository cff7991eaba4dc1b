"""The embedded base trained for real: checkpoints, killing and resuming, batches, every bad end."""

import hashlib
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLVisionBlock

from eval.__main__ import main as evaluate
from nutrition_vl.detector import Detector
from nutrition_vl.files import read_jsonl
from nutrition_vl.models.checkpoints import DEMO, list_checkpoints, read_card, resolve, write_card
from nutrition_vl.models.load import attach, budget_of, load_base, load_processor
from nutrition_vl.models.runtime import detect_runtime
from tests.helpers.labelled import label, paint
from tests.helpers.small_run import TABLE, command, losses
from training import merge
from training.__main__ import main
from training.examples.examples import Collator
from training.run import folder as runs
from training.settings.cli import parse
from training.settings.config import TrainConfig

ROOT = Path(__file__).parents[3]
# Losses of the run below; `python -m pytest tests/test_training.py --repin` writes them anew.
GOLDEN = ROOT / "tests" / "golden" / "losses.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return label(tmp_path_factory.mktemp("data") / "set", [TABLE, [], TABLE, TABLE, TABLE, TABLE])


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Four steps without a break."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(data, folder)) == 0
    return folder


@pytest.mark.slow
def test_a_run_learns_and_leaves_its_numbers_and_their_picture(run):
    steps = losses(run)
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    assert steps[-1][1] < steps[0][1]
    assert (run / "loss.png").stat().st_size > 1000
    assert {"learning_rate", "grad_norm", "photos_per_second"} <= read_jsonl(run / "metrics.jsonl")[
        0
    ].keys()


@pytest.mark.slow
def test_the_losses_are_the_golden_ones(run, request):
    base = hashlib.sha256((DEMO / "model.safetensors").read_bytes()).hexdigest()[:12]
    found = {"base": base, "losses": [round(loss, 4) for _, loss in losses(run)]}
    if request.config.getoption("--repin"):
        GOLDEN.write_text(json.dumps(found) + "\n")
    pinned = json.loads(GOLDEN.read_text())
    assert pinned["base"] == base, "the embedded base is another one: pin its losses with --repin"
    assert found["losses"] == pytest.approx(pinned["losses"], rel=0.01)


@pytest.mark.slow
def test_the_readme_of_a_run_and_a_checkpoint_has_the_numbers(run):
    steps = dict(losses(run))
    first = f"| checkpoint-2 | {(steps[1] + steps[2]) / 2:.3f} |  |  |"
    second = f"| checkpoint-4 | {(steps[3] + steps[4]) / 2:.3f} |  |  |"
    for readme in (run / "README.md", run / "checkpoint-4" / "README.md"):
        said = readme.read_text()
        assert said.startswith("---\nbase_model: demo\nlibrary_name: peft\n")
        assert first in said and second in said
        assert "| recipe | exp1a |" in said and "GiB at the peak" in said
        assert str(readme.parent) in said and ".saving" not in said
        assert "python -m training --model_name_or_path demo --use_cpu True" in said
    assert second not in (run / "checkpoint-2" / "README.md").read_text()


@pytest.mark.slow
def test_every_checkpoint_explains_itself_and_detects(run):
    assert [folder.name for folder in list_checkpoints(run)] == ["checkpoint-2", "checkpoint-4"]
    card = read_card(run / "checkpoint-2")
    assert (card.base_model, card.recipe, card.step, card.max_tokens) == ("demo", "exp1a", 2, 16)
    assert card.quantization == "nf4" and card.versions["torch"] and "--max_steps" in card.command
    detector = Detector.load(run, device="cpu")  # the last checkpoint, on a fresh base
    (answer,) = detector.detect([paint((112, 84), TABLE, seed=0)])
    assert answer.seconds > 0
    assert budget_of(detector.processor).max_tokens == 16
    for file in (run / "checkpoint-4").glob("*.json"):
        assert str(ROOT) not in file.read_text(), file


@pytest.mark.slow
def test_merged_is_the_same_as_unmerged(tmp_path, capsys):
    """The embedded adapter: one trained for four steps at 16 tokens guesses without the grammar."""
    assert merge.main(["demo", "--out", str(tmp_path / "merged"), "--device", "cpu"]) == 0
    assert "the same boxes as before on 6 photos" in capsys.readouterr().out
    detector = Detector.load(tmp_path / "merged", device="cpu")  # an ordinary base now
    assert budget_of(detector.processor).max_tokens == 300
    base = load_file(DEMO / "model.safetensors")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    changed = {key for key in base if not base[key].float().equal(merged[key].float())}
    assert changed and all(key.split(".")[-2] in ("q_proj", "v_proj") for key in changed)
    readme = (tmp_path / "merged" / "README.md").read_text()
    assert "`demo` merged with a LoRA adapter" in readme
    assert merge.main(["demo", "--out", str(tmp_path / "merged")]) == 2  # it is not empty


@pytest.mark.slow
def test_a_4_bit_base_is_not_merged_into(run, tmp_path, capsys):
    load_base(DEMO, detect_runtime("cpu")).save_pretrained(tmp_path / "base")
    load_processor(DEMO).save_pretrained(tmp_path / "base")
    shutil.copytree(run / "checkpoint-4", tmp_path / "adapter")
    card = replace(read_card(tmp_path / "adapter"), base_model=str(tmp_path / "base"))
    write_card(tmp_path / "adapter", card)
    assert merge.main([str(tmp_path / "adapter"), "--out", str(tmp_path / "merged")]) == 2
    assert "is quantised" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_resumed_is_as_if_never_killed(run, data, tmp_path):
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *command(data, broken)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(broken / "checkpoint-2", process)
    process.kill()
    process.wait()
    (broken / ".saving" / "checkpoint-4").mkdir(parents=True)  # as if killed while it saved
    assert len(losses(broken)) < 4, "it was too fast to be killed"
    assert main(command(data, broken, resume_from_checkpoint=True)) == 0
    assert losses(broken) == losses(run)
    assert not (broken / ".saving").exists()
    evaluated = ["--run", broken, "--data", data, "--split", "train", "--device", "cpu"]
    assert evaluate([str(word) for word in evaluated]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["exp1b", "exp2", "best"])
def test_the_other_recipes_train_too(recipe, data, tmp_path):
    settings = {"recipe": recipe, "max_steps": 2, "save_steps": 2}
    assert main(command(data, tmp_path / "run", **settings)) == 0
    folder = tmp_path / "run" / "checkpoint-2"
    attach(load_base(DEMO, detect_runtime("cpu")), folder, "trained")  # ValueError if it misfits
    assert read_card(folder).recipe == recipe
    weights = load_file(folder / "adapter_model.safetensors")
    learned = {key: weight.any() for key, weight in weights.items() if "lora_B" in key}
    assert all(learned.values())  # they start as zeros: a gradient has reached every one
    assert any("visual" in key for key in learned) == (recipe != "exp1b")


def wait_for(path, process):
    """Until the path is there; fails if the process ends before."""
    while not path.exists():
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)


@pytest.mark.slow
def test_the_best_checkpoint_is_chosen_by_its_boxes(data, tmp_path):
    settings = {"validation_photos": 2, "validation_path": data, "save_steps": 1}
    run = tmp_path / "run"
    # Nothing is learned at this rate, so no checkpoint is better than the first: patience ends it.
    assert main(command(data, run, **settings, learning_rate=1e-9, patience=1)) == 0
    scores = read_jsonl(run / "validation.jsonl")
    assert [score["step"] for score in scores] == [1, 2]
    assert all(0 <= score["mean_iou"] <= 1 and 0 <= score["f1"] <= 1 for score in scores)
    assert (run / "best").read_text() == "checkpoint-1\n"
    assert resolve(run).adapter == run / "checkpoint-1"


@pytest.mark.slow
def test_a_kill_between_saving_and_validating_costs_no_score(data, tmp_path):
    settings = {"validation_photos": 2, "validation_path": data, "save_steps": 1, "max_steps": 2}
    run = tmp_path / "run"
    assert main(command(data, run, **settings)) == 0
    scores = read_jsonl(run / "validation.jsonl")
    (run / "validation.jsonl").unlink()
    shutil.rmtree(run / "checkpoint-2")
    assert main(command(data, run, **settings, resume_from_checkpoint=True)) == 0
    again = read_jsonl(run / "validation.jsonl")
    assert [score["step"] for score in again] == [1, 2]
    assert [score["mean_iou"] for score in again] == [score["mean_iou"] for score in scores]


@pytest.mark.slow
def test_photos_that_are_trained_on_do_not_validate(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "run", validation_photos=2)) == 2
    assert "name --validation_path" in capsys.readouterr().err


@pytest.mark.slow
def test_two_photos_at_once_are_one_after_the_other(data, tmp_path):
    both = {"max_steps": 2, "save_strategy": "no", "lora_dropout": 0}
    assert main(command(data, tmp_path / "2x1", **both)) == 0
    apart = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    assert main(command(data, tmp_path / "1x2", **both, **apart)) == 0
    together, after = losses(tmp_path / "2x1"), losses(tmp_path / "1x2")
    assert [loss for _, loss in together] == pytest.approx([loss for _, loss in after], rel=1e-4)


@pytest.mark.slow
def test_sigterm_saves_and_ends_well(data, tmp_path, capsys):
    run = tmp_path / "run"

    def ask():
        while not losses(run):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=ask, daemon=True).start()
    assert main(command(data, run, max_steps=50, save_steps=50)) == 0
    (saved,) = list_checkpoints(run)
    assert (step := read_card(saved).step) == losses(run)[-1][0] < 50
    said = capsys.readouterr().out
    assert f"stopped at step {step} of 50: go on with --resume" in said and "trained:" not in said
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_photos(data, tmp_path, capsys):
    settings = {"learning_rate": 1e30, "max_grad_norm": 0, "warmup_steps": 0, "save_steps": 1}
    assert main(command(data, tmp_path / "run", **settings)) == 1
    said = capsys.readouterr().err
    assert re.search(r"training: the loss is nan in step 2 for pack\d, pack\d: go on from", said)
    assert [folder.name for folder in list_checkpoints(tmp_path / "run")] == ["checkpoint-1"]


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_no_half_checkpoint(data, tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # bytes of any one file
    try:
        assert main(command(data, tmp_path / "run", max_steps=1, save_steps=1)) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "checkpoint-1 cannot be written to" in capsys.readouterr().err
    assert list_checkpoints(tmp_path / "run") == []


def test_a_full_gpu_is_one_sentence_with_the_next_step_down(data, tmp_path, capsys, monkeypatch):
    def full(config):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("training.run.train.train", full)  # no GPU here to fill
    assert main(command(data, tmp_path / "run")) == 1
    assert capsys.readouterr().err == (
        "training: the GPU's memory is full: use --low_memory True\n"
    )


def test_a_folder_that_holds_something_is_refused(data, tmp_path, capsys):
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    assert main(command(data, tmp_path)) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(command(data, tmp_path, overwrite=True, preflight_only=True)) == 0
    assert precious.read_text() == "mine"  # overwritten is only what a run writes


def test_a_mistake_does_not_cost_the_run_that_is_overwritten(data, tmp_path):
    kept = [tmp_path / "checkpoint-9" / "adapter_model.safetensors", tmp_path / "metrics.jsonl"]
    for file in kept:
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    assert main(command(tmp_path / "nowhere", tmp_path, overwrite=True)) == 2
    assert main(command(data, tmp_path, overwrite=True, validation_photos=2)) == 2
    assert main(command(data, tmp_path, overwrite=True, preflight_only=True)) == 0
    assert all(file.exists() for file in kept)
    runs.clear_overwritten(parse(command(data, tmp_path, overwrite=True)), None)
    assert not any(file.exists() for file in kept)


def test_what_an_audit_leaves_out_is_not_trained_on(data, tmp_path, capsys):
    file = tmp_path / "corrections.jsonl"
    file.write_text(json.dumps({"id": "pack3", "split": "train", "leave_out": True}) + "\n")
    asked = {"preflight_only": True, "corrections": file}
    assert main(command(data, tmp_path / "run", **asked)) == 0
    assert "ok: 5 photos, 4 boxes" in capsys.readouterr().out


def test_the_preflight_looks_at_validation_too(data, tmp_path, capsys):
    asked = {"preflight_only": True, "validation_photos": 3, "validation_path": "nowhere"}
    assert main(command(data, tmp_path / "run", **asked)) == 2
    assert "there is no file or folder nowhere" in capsys.readouterr().err


@pytest.mark.slow
def test_a_named_checkpoint_goes_on_in_a_new_folder(run, data, tmp_path):
    asked = {"resume_from_checkpoint": run / "checkpoint-2"}
    assert main(command(data, tmp_path / "new", **asked)) == 0
    assert losses(tmp_path / "new") == losses(run)[2:]


def test_any_process_may_be_the_first_to_need_the_run_folder(data, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainConfig, "process_index", 1)  # it overtook the first
    run = tmp_path / "run"
    with runs.prepare(parse(command(data, run))):
        pass
    assert run.is_dir()
    (run / "a file of the first").touch()
    with runs.prepare(parse(command(data, run))):
        pass
    monkeypatch.setattr(TrainConfig, "process_index", 0)
    with pytest.raises(ValueError, match="is not empty"), runs.prepare(parse(command(data, run))):
        pass


def test_two_trainings_never_write_to_one_folder(data, tmp_path, capsys):
    run = tmp_path / "run"
    with runs.prepare(parse(command(data, run))):
        for other in ({}, {"overwrite": True}, {"resume_from_checkpoint": DEMO / "adapter"}):
            assert main(command(data, run, **other)) == 2
            said = capsys.readouterr().err
            assert f"another command is writing to {run}: let it end, or name another" in said
    assert main(command(data, run, preflight_only=True)) == 0  # the lock itself is no content


@pytest.mark.parametrize("below", ["", "new/newer"])
def test_a_file_as_output_folder_is_named(data, tmp_path, below, capsys):
    (tmp_path / "note").touch()
    assert main(command(data, tmp_path / "note" / below)) == 2
    assert f"{tmp_path / 'note'} is a file, name a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_training_gives_its_lock_back_and_a_second_resume_waits(data, tmp_path, capsys):
    run = tmp_path / "run"
    words = [sys.executable, "-m", "training", *command(data, run, max_steps=50)]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(run / "checkpoint-2", process)
    assert main(command(data, run, resume_from_checkpoint=True, max_steps=50)) == 2
    assert "another command is writing to" in capsys.readouterr().err
    process.kill()
    process.wait()
    step = int(runs.get_last_checkpoint(str(run)).rpartition("-")[2]) + 2
    again = {"resume_from_checkpoint": True, "override": True}
    assert main(command(data, run, **again, max_steps=step)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 0.02}, "was trained with learning_rate 0.01 and cannot go on with 0.02"),
        ({"lora_dropout": 0.2, "max_steps": 6}, "with max_steps 4 and cannot go on with 6"),
        ({"seed": 7}, "with seed 42 and cannot go on with 7"),
        ({"gradient_accumulation_steps": 2}, "with photos_per_step 2 and cannot go on with 4"),
        ({"lora_r": 4}, "was trained with lora_r 8 and cannot go on with 4"),
        ({"recipe": "exp1b"}, "was trained with recipe exp1a and cannot go on with exp1b"),
        ({"limit": 3}, "was trained with dataset"),
    ],
)
def test_a_run_goes_on_only_as_itself(settings, words, run, data, capsys):
    before = losses(run)
    assert main(command(data, run, resume_from_checkpoint=True, **settings)) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert ("[1/7] photos" in printed.out) == ("limit" in settings)  # which takes all photos
    assert losses(run) == before


@pytest.mark.slow
def test_a_finished_run_is_not_trained_any_further(run, data, capsys):
    """It may have been killed after its last checkpoint, or be started again by a cluster."""
    before = losses(run)
    assert main(command(data, run, resume_from_checkpoint=True)) == 0
    assert "trained already" in capsys.readouterr().out
    assert losses(run) == before and len(list_checkpoints(run)) == 2


@pytest.mark.slow
def test_another_photo_under_an_old_name_is_noticed(run, data, tmp_path, capsys):
    other = shutil.copytree(data, tmp_path / "set")
    paint((112, 84), TABLE, seed=99).save(other / "images" / "pack0.jpg")
    resumed = {"resume_from_checkpoint": run / "checkpoint-2"}
    assert main(command(other, tmp_path / "new", **resumed)) == 2
    assert "was trained with dataset" in capsys.readouterr().err


@pytest.mark.slow
def test_override_takes_new_settings_whole_and_logs_them_on_the_card(run, data, tmp_path, capsys):
    new = tmp_path / "new"
    changed = {"learning_rate": 0.005, "lora_dropout": 0.2, "max_steps": 6, "seed": 7}
    words = command(
        data, new, resume_from_checkpoint=run / "checkpoint-2", override=True, **changed
    )
    assert main(words) == 0
    lines = [
        "step 2: seed 42 -> 7",
        "step 2: lora_dropout 0.05 -> 0.2",
        "step 2: max_steps 4 -> 6",
        "step 2: learning_rate 0.01 -> 0.005",
    ]
    card = read_card(new / "checkpoint-6")
    assert sorted(card.overridden) == sorted(lines)
    assert all(line in (new / "README.md").read_text() for line in lines)
    # The cosine of the new rate over the new steps, one of which is warm-up.
    rates = [row["learning_rate"] for row in read_jsonl(new / "metrics.jsonl")]
    wanted = [0.0025 * (1 + math.cos(math.pi * done / 5)) for done in (1, 2, 3, 4)]
    assert rates == pytest.approx(wanted)
    resumed = {"resume_from_checkpoint": True, **changed}
    assert main(command(data, new, **resumed)) == 0  # it is the same run now
    assert read_card(new / "checkpoint-6").overridden == card.overridden


@pytest.mark.slow
def test_what_the_saved_optimizer_does_not_fit_is_not_overridden(run, data, tmp_path, capsys):
    resumed = {"resume_from_checkpoint": run / "checkpoint-2", "override": True, "lora_r": 4}
    assert main(command(data, tmp_path / "new", **resumed)) == 2
    said = capsys.readouterr().err
    assert "was trained with lora_r 8" in said and "--override" not in said.split("repeat")[1]


@pytest.mark.slow
def test_the_bar_shows_loss_speed_and_memory(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "run", max_steps=1, save_strategy="no")) == 0
    out, err = capsys.readouterr()
    numbers = r"loss \d\.\d+, rate \d\.\de[-+]\d+, \d+\.\d+ photos/s, peak \d+\.\d+ GiB"
    assert re.search(numbers, err)
    assert re.search(r"trained, nothing saved: .*run, peak \d+\.\d+ GiB", out)


@pytest.fixture
def batches(monkeypatch):
    """What is trained on as it is put together, and whether attention might then be cuDNN's."""
    seen = []

    def spy(collator, examples):
        seen.append((examples, torch.backends.cuda.cudnn_sdp_enabled()))
        return call(collator, examples)

    call = Collator.torch_call
    monkeypatch.setattr(Collator, "torch_call", spy)
    return seen


@pytest.mark.slow
def test_photos_of_like_length_are_trained_together_and_never_by_cudnn(tmp_path, batches):
    """Of 32 rows of one to four boxes every eight are sorted, so pairs differ by 3 in each eight.

    At random they would differ by 20 in all.
    """
    folder = label(tmp_path / "data", [TABLE * (1 + number % 4) for number in range(32)], (56, 56))
    settings = {"train_sampling_strategy": "group_by_length", "save_strategy": "no"}
    settings |= {"max_steps": -1, "num_train_epochs": 1, "cache_features": False}
    assert main(command(folder, tmp_path / "run", **settings)) == 0
    _, *trained = batches  # the first is the sample that is shown before
    assert len(trained) == 16
    boxes = [[str(row["completion"]).count("<|box_end|>") for row in rows] for rows, _ in trained]
    assert sum(abs(one - other) for one, other in boxes) <= 4 * 3
    assert not any(cudnn for _, cudnn in trained)


@pytest.mark.slow
def test_a_photo_that_is_lost_after_the_checks_is_not_missed(tmp_path, batches):
    """The one read of the checks hashes it and keeps it resized for the vision tower."""
    folder = label(tmp_path / "data", [TABLE] * 4)
    lost = folder / "images/pack3.jpg"
    threading.Thread(target=lambda: lose(lost, batches), daemon=True).start()
    assert main(command(folder, tmp_path / "run", max_steps=2)) == 0
    assert not lost.exists()


@pytest.mark.slow
def test_a_photo_that_breaks_during_training_is_one_sentence(tmp_path, capsys, batches):
    folder = label(tmp_path / "data", [TABLE] * 4)
    lost = folder / "images/pack3.jpg"
    settings = {"max_steps": 2, "dataloader_num_workers": 1, "cache_features": False}
    threading.Thread(target=lambda: lose(lost, batches), daemon=True).start()
    assert main(command(folder, tmp_path / "run", **settings)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]  # a bar ends with a carriage return
    assert said.strip() == f"training: there is no photo {lost}"


def lose(photo, batches):
    """Removes a photo as soon as the checks have seen it."""
    while not batches:
        time.sleep(0.01)
    photo.unlink()


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "kept"), [("exp1a", False), ("exp2", True)])
def test_a_frozen_tower_keeps_nothing_for_the_backward_pass(
    recipe, kept, data, tmp_path, monkeypatch
):
    asked = set()

    def spy(block, *args, **kwargs):
        found = call(block, *args, **kwargs)
        asked.add(found.requires_grad)
        return found

    call = Qwen2VLVisionBlock.forward
    monkeypatch.setattr(Qwen2VLVisionBlock, "forward", spy)
    settings = {"recipe": recipe, "gradient_checkpointing": True, "max_steps": 1}
    assert main(command(data, tmp_path / "run", **settings, save_strategy="no")) == 0
    assert asked == {kept}


def test_nothing_to_resume_from_is_said(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "run", resume_from_checkpoint=True)) == 2
    assert "no checkpoint to resume from" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_trackers_receive_the_losses(tracker, data, tmp_path, monkeypatch):
    if find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tensorboard"))
    settings = {"report_to": tracker, "max_steps": 2, "save_strategy": "no"}
    assert main(command(data, tmp_path / "run", **settings)) == 0
    files = [file for file in (tmp_path / tracker).rglob("*") if file.is_file()]
    assert any(file.stat().st_size > 1000 for file in files)
