"""What commands are told is looked at before they begin to work, where they write to first."""

import pytest

from eval.audit.__main__ import main as inspect
from eval.audit.__main__ import parser as audit
from eval.config import parser as evaluate
from eval.ocr import parser as ocr
from nutrition_vl.__main__ import parser as detect
from nutrition_vl.bench.__main__ import parser as bench
from nutrition_vl.calibrate import parser as calibrate
from training.memory.__main__ import main as memory
from training.render.__main__ import parser as render

DATA = ["--data", "photos"]
FOLDERS = {
    "detect": (detect, ["pack.jpg", "--draw"]),
    "bench": (bench, ["--out"]),
    "eval": (evaluate, ["--checkpoint", "demo", "--out"]),
    "audit": (audit, [*DATA, "--out"]),
    "render": (render, ["--count", "1", "--out"]),
}
FILES = {"ocr": (ocr, [*DATA, "--out"]), "calibrate": (calibrate, [*DATA, "--draw"])}


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("below", ["", "new/newer"])
def test_a_file_is_no_folder(name, below, tmp_path, capsys):
    parser, words = FOLDERS[name]
    (tmp_path / "note").touch()
    with pytest.raises(SystemExit):
        parser().parse_args([*words, str(tmp_path / "note" / below)])
    assert f"{tmp_path / 'note'} is a file: name a folder" in capsys.readouterr().err
    parser().parse_args([*words, str(tmp_path / "new" / below)])


@pytest.mark.parametrize("name", FILES)
def test_a_folder_is_no_file(name, tmp_path, capsys):
    parser, words = FILES[name]
    with pytest.raises(SystemExit):
        parser().parse_args([*words, str(tmp_path)])
    assert f"{tmp_path} is a folder: name a file in it" in capsys.readouterr().err
    parser().parse_args([*words, str(tmp_path / "new")])


def test_a_forecast_is_not_written(tmp_path, capsys):
    with pytest.raises(SystemExit):
        memory(["--forecast", "24", "--out", str(tmp_path)])
    assert "--forecast is only printed: leave out --out" in capsys.readouterr().err


def test_a_split_is_not_compared_with_itself(capsys):
    with pytest.raises(SystemExit):
        inspect([*DATA, "--split", "val", "val"])
    assert "a --split is named twice" in capsys.readouterr().err
