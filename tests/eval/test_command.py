"""The whole command on the embedded checkpoint: sweep, resume, bad input."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from eval.__main__ import main
from eval.config import EvalConfig, parse
from eval.sweep.targets import report_folder, targets
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.names import THRESHOLD
from nutrition_vl.running.processes import Processes

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def data(tmp_path_factory, photos):
    """Three labelled photos, the last without a table."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number, photo in enumerate(photos):
        photo.save(folder / f"{number}.png")
        boxes = [[0.25, 0.25, 0.5, 0.5]] if number < 2 else []
        objects = {"bbox": boxes, "category_name": ["nutrition-table"] * len(boxes)}
        rows.append({"file_name": f"{number}.png", "image_id": f"pack{number}", "objects": objects})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """A run of two checkpoints, evaluated once."""
    folder = tmp_path_factory.mktemp("runs") / "qlora"
    for step in (9, 10):
        shutil.copytree(DEMO / "adapter", folder / f"checkpoint-{step}")
    assert main(["--run", str(folder), "--data", str(data), "--device", "cpu"]) == 0
    return folder


def predictions(run, name):
    """The one predictions file of a row."""
    (file,) = (run / "eval" / "predictions").glob(f"{name}-????????.jsonl")
    return file


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys, *argv) -> str:
    """The one sentence of a command that could not be done."""
    assert main([str(word) for word in argv]) == 2
    captured = capsys.readouterr()
    said = captured.err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("eval: ")
    assert captured.out == ""
    return said[0]


def test_the_sweep_goes_from_the_base_to_the_last_step(run, data, capsys):
    assert main(["--run", str(run), "--data", str(data)]) == 0
    found = last_line(capsys)["results"]
    assert [row["name"] for row in found] == ["base", "checkpoint-9", "checkpoint-10"]
    assert [row["step"] for row in found] == [None, 9, 10]
    assert {(row["photos"], row["boxes"]) for row in found} == {(3, 2)}
    first, second = ({**row, "name": "", "step": 0} for row in found[1:])
    first.pop("seconds_per_photo"), second.pop("seconds_per_photo")
    assert first == second  # the same adapter under two names


def test_only_gaps_are_predicted_again(run, data):
    file = predictions(run, "checkpoint-9")
    before = file.read_text().splitlines()
    file.write_text(f"{before[0]}\n{before[1]}\n{before[2][:30]}")  # killed while writing
    assert main(["--run", str(run), "--data", str(data), "--device", "cpu"]) == 0
    after = file.read_text().splitlines()
    assert after[:2] == before[:2]  # their seconds would differ
    assert json.loads(after[2])["boxes"] == json.loads(before[2])["boxes"]


def test_a_limit_scores_the_first_photos(run, data, capsys):
    assert main(["--run", str(run), "--data", str(data), "--limit", "1"]) == 0
    assert {row["photos"] for row in last_line(capsys)["results"]} == {1}


def lines_of(run):
    """The content of all predictions files of a run."""
    return {file.name: file.read_bytes() for file in run.glob("eval/predictions/*.jsonl")}


def test_a_copied_run_scores_without_predicting_again(run, data, tmp_path):
    copied, moved = shutil.copytree(run, tmp_path / "qlora"), tmp_path / "moved" / data.name
    shutil.copytree(data, moved)
    for file in copied.glob("*/adapter_model.safetensors"):
        file.touch()  # as a copy without its times
    assert main(["--run", str(copied), "--data", str(moved)]) == 0
    assert lines_of(copied) == lines_of(run)


def test_retrained_weights_are_predicted_anew_and_mix_with_nothing(run, data, tmp_path):
    copy = shutil.copytree(run, tmp_path / "qlora")
    weights = copy / "checkpoint-10" / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * 0.5 for name, tensor in tensors.items()}, weights)
    assert main(["--run", str(copy), "--data", str(data), "--limit", "1", "--device", "cpu"]) == 0
    after = lines_of(copy)
    assert {name: after[name] for name in lines_of(run)} == lines_of(run)
    (new,) = after.keys() - lines_of(run).keys()
    assert new.startswith("checkpoint-10-") and after[new].count(b"\n") == 1


def test_photos_replaced_in_their_folder_are_noticed(run, data, tmp_path, capsys):
    copy, other = shutil.copytree(run, tmp_path / "qlora"), tmp_path / "other" / data.name
    shutil.copytree(data, other)
    options = ["--run", str(copy), "--data", str(other)]
    shutil.copy(other / "0.png", other / "1.png")
    assert "predicted with another photo pack1" in refused(capsys, *options)
    assert main([*options, "--limit", "1"]) == 0  # that photo is the same


def test_other_settings_matter_only_where_photos_are_missing(
    run, data, tmp_path, capsys, monkeypatch
):
    differs = ["attention flash_attention_2 on the card, sdpa here"]  # a run of another machine
    monkeypatch.setattr("eval.sweep.sweep.mismatches", lambda *_: differs)
    copy = shutil.copytree(run, tmp_path / "qlora")
    assert main(["--run", str(copy), "--data", str(data)]) == 0
    file = predictions(copy, "checkpoint-10")
    file.write_bytes(file.read_bytes().partition(b"\n")[0] + b"\n")
    capsys.readouterr()
    assert differs[0] in refused(capsys, "--run", copy, "--data", data)


def test_predictions_without_provenance_are_left_alone(run, data, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "qlora")
    predictions(copy, "base").with_suffix(".json").write_text("[")
    reason = refused(capsys, "--run", copy, "--data", data)
    assert "has no provenance file (base-" in reason
    assert lines_of(copy) == lines_of(run)


def test_two_commands_never_write_to_one_place(run, data, capsys):
    place = run / "eval" / "predictions"
    with Processes("cpu").only_command([place]):
        reason = refused(capsys, "--run", run, "--data", data)
    assert f"another command is writing to {place}" in reason
    assert main(["--run", str(run), "--data", str(data)]) == 0


def test_a_file_of_the_sweep_scores_like_the_sweep(run, data, capsys):
    file = predictions(run, "checkpoint-10")
    assert main(["--run", str(run), "--data", str(data)]) == 0
    swept = last_line(capsys)["results"][2]
    assert swept["threshold"] == THRESHOLD
    shown = ["--threshold", str(THRESHOLD)]
    assert main(["--predictions", str(file), "--data", str(data), *shown]) == 0
    assert last_line(capsys)["results"][0] == swept | {
        "name": file.stem, "run": "", "step": None, "seed": None
    }  # fmt: skip


def test_a_single_checkpoint_is_named_after_its_folder(run):
    (bare, tuned) = targets(EvalConfig(checkpoint=str(run / "checkpoint-10")))
    assert (bare.name, bare.adapter) == ("base", "none")
    assert (tuned.name, tuned.step) == ("checkpoint-10", 10)
    assert tuned.file.parent == run / "eval" / "predictions"
    assert tuned.file.name == f"checkpoint-10-{tuned.key}.jsonl"


def test_runs_that_share_a_base_score_it_once(run, tmp_path):
    second = shutil.copytree(run, tmp_path / "second")
    config = EvalConfig(runs=(run, second))
    rows = [(target.run, target.name) for target in targets(config)]
    assert rows[0] == ("qlora", "base")
    assert rows[3:] == [("second", "checkpoint-9"), ("second", "checkpoint-10")]
    assert report_folder(config) == run.parent / "eval"


def test_a_run_without_checkpoints(tmp_path, capsys):
    assert "holds no checkpoint-N folder" in refused(capsys, "--run", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_split(tmp_path, capsys):
    (tmp_path / "metadata.jsonl").write_text("")
    reason = refused(capsys, "--checkpoint", "demo", "--data", tmp_path, "--out", tmp_path / "new")
    assert "holds no photos" in reason
    assert not (tmp_path / "new").exists()


def test_bad_predictions_overwrite_nothing(tmp_path, data, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.md").write_text("the last one")
    file = tmp_path / "row.jsonl"
    file.write_text('{"id": "pack0", "boxes": [{"xyxy": [1, 2, 3]}]}\n')
    reason = refused(capsys, "--predictions", file, "--data", data, "--out", out)
    assert "four finite numbers" in reason
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [
        ("report.md", "the last one")
    ]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--run", "a", "--checkpoint", "demo"],
        ["--checkpoint", "demo", "--limit", "0"],
        ["--checkpoint", "demo", "--perturb", "rain"],
        ["--predictions", "row.csv", "--perturb", "blur"],
    ],
)
def test_commands_that_are_not_understood(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "error" in capsys.readouterr().err


def test_files_are_rows_next_to_the_models(run, data, tmp_path, capsys):
    file = tmp_path / "ocr.jsonl"
    rows = [{"id": f"pack{number}", "boxes": []} for number in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--run", str(run), "--data", str(data), "--predictions", str(file)]) == 0
    found = last_line(capsys)
    assert [row["name"] for row in found["results"]][2:] == ["checkpoint-10", "ocr"]
    assert {entry["second"] for entry in found["differences"]} | {found["best"]} == {
        "base", "checkpoint-9", "checkpoint-10", "ocr"
    }  # fmt: skip


@pytest.mark.slow
def test_one_adapter_in_two_quantizations_is_two_rows_compared_in_pairs(
    run, data, tmp_path, capsys
):
    copy = shutil.copytree(run, tmp_path / "qlora")
    options = ["--checkpoint", str(copy / "checkpoint-9"), "--data", str(data), "--device", "cpu"]
    assert main([*options, "--limit", "2", "--quantization", "nf4", "none"]) == 0
    printed = last_line(capsys)
    rows = {row["name"]: row for row in printed["results"]}
    assert [*rows] == ["base", "checkpoint-9", "checkpoint-9@none"]
    assert {printed["best"]} | {entry["second"] for entry in printed["differences"]} == {*rows}
    assert lines_of(run).items() <= lines_of(copy).items()  # the own quantization was there already
    note = predictions(copy, "checkpoint-9@none").with_suffix(".json")
    assert json.loads(note.read_text())["quantization"] == "none"


def test_a_perturbation_named_twice_is_predicted_once():
    assert parse(["--checkpoint", "demo", "--perturb", "blur,dark,blur"]).perturb == (
        "blur",
        "dark",
    )


@pytest.mark.slow
def test_worse_photos_are_predicted_by_the_base_and_the_best(run, data, capsys):
    options = ["--run", str(run), "--data", str(data), "--device", "cpu"]
    assert main([*options, "--perturb", "rotate90,small"]) == 0
    found = last_line(capsys)
    asked = dict.fromkeys(["base", found["best"]])
    assert [(row["name"], row["perturb"]) for row in found["perturbed"]] == [
        (name, how) for name in asked for how in ("rotate90", "small")
    ]
    lines = predictions(run, "base+rotate90").read_text().splitlines()
    sizes = [(row["width"], row["height"]) for row in map(json.loads, lines)]
    assert sizes == [(240, 180), (140, 320), (150, 150)]  # the predicted photo lay on its side
    assert "## on worse photos" in (run / "eval" / "report.md").read_text()
