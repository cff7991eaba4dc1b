"""`python -m nutrition_vl` over real files: lines, exit codes and what goes where."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from nutrition_vl.__main__ import main
from nutrition_vl.data.photos import find_photos
from nutrition_vl.detector import Detector
from nutrition_vl.models.names import THRESHOLD
from tests.helpers.labelled import label
from tests.helpers.people import nobody

ROOT = Path(__file__).parents[1]


@pytest.fixture
def loaded(demo, monkeypatch):
    """The command finds the demo already loaded; its own loading is the subprocess' to show."""
    monkeypatch.setattr(Detector, "load", lambda *args, **options: demo)


@pytest.fixture
def folder(tmp_path, photos):
    """Two photos of one name in two folders, a broken one, and a text file."""
    (tmp_path / "in" / "b").mkdir(parents=True)
    photos[0].save(tmp_path / "in" / "pack.png")
    photos[1].save(tmp_path / "in" / "b" / "pack.jpg")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no photo")
    (tmp_path / "in" / "notes.txt").write_text("no photo either")
    return tmp_path / "in"


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_one_process_from_end_to_end(folder, tmp_path):
    order = [sys.executable, "-m", "nutrition_vl", folder, "--draw", tmp_path / "out"]
    done = subprocess.run(order, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lying, broken, upright = lines(done.stdout)
    assert lying.keys() == {"photo", "width", "height", "boxes", "text", "seconds", "overruled"}
    assert lying["photo"] == str(folder / "b" / "pack.jpg")
    assert (lying["width"], lying["height"]) == (320, 140)
    assert (upright["width"], upright["height"]) == (180, 240)
    assert broken.keys() == {"photo", "error"}
    assert "is not a photo" in broken["error"]
    assert "3/3" in done.stderr
    assert "arn" not in done.stderr  # neither warnings nor Warning
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pack-2.jpg", "pack.jpg"]


def test_of_remarks_only_our_own_are_told():
    """In a process of its own: pytest takes log records itself."""
    code = """
import logging, sys, warnings
from nutrition_vl.cli import guarded

def told():
    logging.getLogger("nutrition_vl.data").warning("left out 2 boxes")
    for name in ("bitsandbytes", "transformers.models"):
        logging.getLogger(name).warning("a remark")
    logging.getLogger("datasets").error("an error")
    warnings.warn("a warning")
    raise ValueError("give another")

sys.exit(guarded("eval", told))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["left out 2 boxes", "an error", "eval: give another"]
    assert done.stdout == ""


@pytest.mark.model
def test_what_is_wrong_with_data_is_told_of_its_evaluation(tmp_path):
    data = label(tmp_path / "data", [[(0.1, 0.2, 0.5, 0.6)], [(0.3, 0.3, 0.3, 0.9)]])
    lines = [{"photo": f"images/pack{number}.jpg", "boxes": []} for number in range(2)]
    (tmp_path / "any.jsonl").write_text("\n".join(map(json.dumps, lines)))
    order = [sys.executable, "-m", "eval", "--predictions", tmp_path / "any.jsonl", "--data", data]
    done = subprocess.run(order, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    counted, reason = done.stderr.splitlines()
    assert counted == f"{data}: 1 entries are not scored"
    assert reason.strip().startswith("pack1: ")
    assert reason.endswith("no area in the photo of 112 x 84")
    assert json.loads(done.stdout.splitlines()[-1])["results"][0]["photos"] == 1


COMMANDS = ["app", "nutrition_vl", "nutrition_vl.calibrate", "nutrition_vl.bench"]
COMMANDS += [
    "nutrition_vl.batch",
    "nutrition_vl.data",
    "training",
    "training.average",
    "training.demo_model",
    "training.merge",
    "training.memory",
    "training.render",
    "eval",
    "eval.audit",
    "eval.ocr",
]


@pytest.mark.parametrize("module", COMMANDS)
def test_help_loads_no_library_that_takes_seconds_or_speaks(module):
    code = f"""
import runpy, sys
sys.argv = ["{module}", "--help"]
try:
    runpy.run_module("{module}", run_name="__main__", alter_sys=True)
finally:
    assert not {{"torch", "transformers", "supervision", "gradio", "ray"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_a_closed_stdout_is_refused_before_photos_are_answered(folder):
    order = f"exec {sys.executable} -m nutrition_vl {folder} >&-"
    done = subprocess.run(order, shell=True, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("nutrition_vl: stdout is closed")
    assert done.stderr.count("\n") == 1


def test_an_unknown_checkpoint_is_one_sentence(folder, capsys):
    assert main([str(folder), "--checkpoint", "nowhere"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("nutrition_vl: there is no checkpoint nowhere: ")
    assert printed.err.count("\n") == 1


@pytest.mark.model
def test_the_lines_are_the_detectors_answers(loaded, demo, folder, photos, capsys):
    assert main([str(folder / "pack.png")]) == 0
    (line,) = lines(capsys.readouterr().out)
    (answer,) = demo.detect(photos[:1])
    wanted = {"photo": str(folder / "pack.png")} | answer.record((180, 240))
    assert line | {"seconds": 0} == wanted | {"seconds": 0}


def test_a_photo_that_fails_in_its_batch_leaves_the_others_answered(loaded, folder, capsys):
    Image.new("RGB", (1, 4000)).save(folder / "strip.png")
    names = [folder / name for name in ("pack.png", "strip.png", "missing.jpg", "b/pack.jpg")]
    assert main([*map(str, names), "--batch-size", "4"]) == 1
    upright, strip, missing, lying = lines(capsys.readouterr().out)
    assert (upright["width"], lying["width"]) == (180, 320)
    assert "crop it" in strip["error"]
    assert missing == {
        "photo": str(folder / "missing.jpg"),
        "error": f"there is no photo {folder / 'missing.jpg'}",
    }


@pytest.mark.model
def test_drawing_overwrites_nothing(loaded, folder, tmp_path):
    order = [str(folder / "pack.png"), "--draw", str(tmp_path)]
    (tmp_path / "pack.jpg").write_text("mine")
    assert main(order) == main(order) == 0
    assert (tmp_path / "pack.jpg").read_text() == "mine"
    for name in ("pack-2.jpg", "pack-3.jpg"):
        assert Image.open(tmp_path / name).size == (180, 240)


def test_a_reader_who_leaves_early_ends_the_command(loaded, folder, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as left:
        monkeypatch.setattr(sys, "stdout", left)
        assert main([str(folder / "pack.png")]) == 1


def test_a_folder_that_may_not_be_read_is_one_sentence(folder, capsys):
    with nobody():
        assert main([str(folder)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "Permission denied" in said and str(folder) in said


def test_folders_are_searched_through_in_order(folder):
    (folder / "._pack.jpg").touch()
    (folder / "z.jpg").mkdir()
    found = [folder / "b" / "pack.jpg", folder / "broken.jpg", folder / "pack.png"]
    assert find_photos([folder]) == found
    assert find_photos([Path("any.txt"), folder / "b"]) == [Path("any.txt"), found[0]]


def test_a_link_to_nowhere_is_found_and_told_of(loaded, folder, capsys):
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    assert main([str(folder)]) == 1
    told = {Path(line["photo"]).name: line for line in lines(capsys.readouterr().out)}
    assert "error" in told["gone.jpg"]


def test_a_folder_without_photos_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"nutrition_vl: there is no photo in {tmp_path}: ")


@pytest.mark.parametrize(
    ("name", "words"), [("", "a name is empty"), ("https://packs.example/a.jpg", "batch reads")]
)
def test_what_names_no_file_is_refused(name, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([name])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_a_batch_has_at_least_one_photo(size, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["pack.jpg", "--batch-size", size])
    assert stopped.value.code == 2
    assert f"give a whole number from 1 up, not {size}" in capsys.readouterr().err


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    assert "python -m nutrition_vl pack.jpg" in told and f"(default {THRESHOLD:g})" in told


def detect(folder, out, *options):
    """The command's exit code, in this process."""
    return main([str(folder), "--out", str(out), "--batch-size", "2", *map(str, options)])


@pytest.fixture
def many(tmp_path, photos):
    """Five photos and a broken one."""
    (tmp_path / "many").mkdir()
    for number in range(5):
        photos[number % 3].save(tmp_path / "many" / f"{number}.png")
    (tmp_path / "many" / "broken.jpg").write_bytes(b"no photo")
    return tmp_path / "many"


def without_time(path):
    return [{**line, "seconds": 0} for line in lines(path.read_text())]


@pytest.mark.model
def test_a_file_of_answers_goes_on_where_it_stopped(loaded, many, tmp_path, capsys):
    assert detect(many, tmp_path / "whole.jsonl") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "whole.jsonl: 6 photos" in printed.err and "1 unread" in printed.err
    whole = (tmp_path / "whole.jsonl").read_text()
    assert len(lines(whole)) == 6
    cut = tmp_path / "cut.jsonl"
    shutil.copy(tmp_path / "whole.jsonl.json", tmp_path / "cut.jsonl.json")
    first_two = "".join(whole.splitlines(keepends=True)[:2])
    cut.write_text(first_two + whole.splitlines()[2][:40])  # killed within the third line
    assert detect(many, cut) == 1
    assert "2 were there before" in capsys.readouterr().err
    assert cut.read_text().startswith(first_two)
    assert without_time(cut) == without_time(tmp_path / "whole.jsonl")


@pytest.mark.parametrize("content", ['{"images": []}', '{"images": []}\n', "notes", "\n"])
def test_a_file_of_something_else_is_never_written_to(content, many, tmp_path, capsys):
    file = tmp_path / "labels.json"
    file.write_text(content)
    assert main([str(many), "--out", str(file)]) == 2
    assert "labels.json" in capsys.readouterr().err
    assert file.read_text() == content


def test_a_whole_file_of_answers_loads_no_model(loaded, many, tmp_path, monkeypatch):
    detect(many, tmp_path / "answers.jsonl")
    before = (tmp_path / "answers.jsonl").read_bytes()
    monkeypatch.setattr(Detector, "load", None)
    assert detect(many, tmp_path / "answers.jsonl") == 1
    assert (tmp_path / "answers.jsonl").read_bytes() == before


@pytest.mark.model
def test_answers_of_two_models_are_never_mixed(loaded, many, tmp_path, capsys, other):
    out = tmp_path / "answers.jsonl"
    detect(many, out)
    before = out.read_bytes()
    for option, value, name in (("--threshold", 0.7, "threshold"), ("--adapter", other, "adapter")):
        assert detect(many, out, option, value) == 2
        words = capsys.readouterr().err.splitlines()[-1]
        assert f"answers.jsonl holds answers with another {name}: move it away, or" in words
    (tmp_path / "answers.jsonl.json").unlink()
    assert detect(many, out) == 2
    assert "answers.jsonl has no answers.jsonl.json" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.slow
def test_a_killed_command_loses_nothing(tmp_path, photos):
    (tmp_path / "in").mkdir()
    for number in range(30):
        photos[2].save(tmp_path / "in" / f"{number:02}.png")
    out = tmp_path / "answers.jsonl"
    order = [sys.executable, "-m", "nutrition_vl", tmp_path / "in", "--out", out, "--batch-size=1"]
    process = subprocess.Popen(order, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not out.exists() or out.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = out.read_bytes()
    assert 3 <= before.count(b"\n") < 30
    done = subprocess.run(order, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert out.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    names = [Path(line["photo"]).name for line in lines(out.read_text())]
    assert names == [f"{number:02}.png" for number in range(30)]


@pytest.mark.slow
def test_two_processes_answer_each_photo_once(many, tmp_path):
    out = tmp_path / "answers.jsonl"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--main_process_port", "0"]
    order = [*launch, "-m", "nutrition_vl", many, "--out", out, "--batch-size=2"]
    no_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(order, cwd=ROOT, env=no_gpu, capture_output=True, text=True)
    assert "answers.jsonl: 6 photos" in done.stderr
    names = [Path(line["photo"]).name for line in lines(out.read_text())]
    assert sorted(names) == ["0.png", "1.png", "2.png", "3.png", "4.png", "broken.jpg"]
