"""`python -m training.render` makes a data set that our own reader reads."""

import json

import pytest
import torch

from nutrition_vl.boxes import LABELS
from nutrition_vl.data import load_split, truth
from training.render.__main__ import main
from training.render.camera.scenes import PAIRED

pytestmark = pytest.mark.model


def render(folder, *options):
    return main([*"--count 6 --size 96 --workers 1 --out".split(), str(folder), *options])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    render(folder)
    return folder


def test_the_rows_are_read_back(rendered):
    rows = load_split(str(rendered), "train")
    assert len(rows) == 6
    written = [json.loads(line) for line in (rendered / "metadata.jsonl").open()]
    for row, line in zip(rows, written, strict=True):
        found = truth(row)
        assert row["image"].size == (line["width"], line["height"])
        assert max(row["image"].size) == 96
        assert [LABELS[k] for k in found.class_id] == line["objects"]["category_name"]
    assert any(row["xyxy"] for row in rows)


def test_the_same_seed_gives_the_same_photos(rendered, tmp_path):
    render(tmp_path)
    for photo in sorted((rendered / "images").iterdir()):
        assert photo.read_bytes() == (tmp_path / "images" / photo.name).read_bytes()


def test_packs_without_tables_come_on_top(tmp_path):
    render(tmp_path, "--plain", "5")
    rows = load_split(str(tmp_path), "train")
    assert len(rows) == 11
    assert not any(rows["xyxy"][6:])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--plain -1", "--plain must be at least 0, not -1"),
        ("--count 1 --plain 2", "draw more of them, with --count"),
        ("--split a/b", "--split a/b cannot begin a file's name: leave out the /"),
        ("--size 3", "--size must be at least 64, not 3"),
        ("--device tpu", "unknown device 'tpu': use one of auto, cpu, cuda"),
    ],
)
def test_impossible_settings_are_one_sentence(tmp_path, options, said, capsys):
    assert render(tmp_path, *options.split()) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert render(tmp_path, "--device", "cuda") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("training.render: there is no CUDA GPU that PyTorch can use here")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("option", ["--count", "--size", "--workers"])
def test_there_is_at_least_one_of_everything(tmp_path, option, capsys):
    with pytest.raises(SystemExit):
        render(tmp_path, option, "0")
    assert "give a whole number from 1 up, not 0" in capsys.readouterr().err


@pytest.mark.parametrize("pairs", ["5", "-0.1", "some", "nan"])
def test_pairs_are_a_share(tmp_path, pairs, capsys):
    with pytest.raises(SystemExit):
        render(tmp_path, "--pairs", pairs)
    assert f"give a number from 0 to 1, not {pairs}" in capsys.readouterr().err


def test_the_help_tells_the_share_of_pairs(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"of two packs (default {PAIRED:g})" in capsys.readouterr().out


def test_a_split_that_was_cut_off_is_drawn_again(rendered, tmp_path, monkeypatch):
    def cut(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.render.dataset.objects", cut)
        assert render(tmp_path) == 130
    render(tmp_path)
    assert (tmp_path / "metadata.jsonl").read_text() == (rendered / "metadata.jsonl").read_text()


def test_a_split_is_not_written_twice(rendered, capsys):
    assert render(rendered) == 2
    assert "has a split 'train' already" in capsys.readouterr().err


def test_a_folder_without_photos_is_one_sentence(tmp_path, capsys):
    assert render(tmp_path, "--backgrounds", str(tmp_path)) == 2
    assert "there is no .jpg in" in capsys.readouterr().err
