"""Labels are counted and drawn where they are, without training."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nutrition_vl.data.__main__ import main
from nutrition_vl.data.label_report import GAP, LINE, TILE, choose
from tests.helpers.labelled import label

GREEN = (11, 138, 62)


def printed(capsys, *argv):
    code = main([str(word) for word in argv])
    return code, capsys.readouterr().out.splitlines()


def test_photos_and_boxes_are_counted_and_three_answers_shown(tmp_path, capsys):
    data = label(tmp_path / "set", [[(0.1, 0.1, 0.5, 0.5)]] * 3 + [[]], (200, 100))
    code, lines = printed(capsys, data, "--out", tmp_path / "out")
    assert code == 0
    assert lines[:3] == [
        "4 photos: 3 with a table, 1 without",
        "3 boxes: 3 nutrition-table",
        "0 skipped",
    ]
    assert [line.split(":")[0] for line in lines[3:6]] == ["pack0", "pack1", "pack2"]
    assert "(100,100),(500,500)" in lines[3]


def test_skipped_entries_are_named_in_ten_lines_at_most(tmp_path, capsys):
    data = label(tmp_path / "set", [[(0.1, 0.1, 0.5, 0.5)]])
    bad = "".join(json.dumps({"file_name": f"{n}.jpg", "objects": 5}) + "\n" for n in range(15))
    (data / "metadata.jsonl").write_text((data / "metadata.jsonl").read_text() + bad)
    code, lines = printed(capsys, data, "--out", tmp_path / "out")
    assert code == 1 and lines[2] == "15 skipped"
    assert lines[3].startswith("  0.jpg: ") and lines[12] == "  and 6 more"
    assert lines[13].startswith("pack0: ")


def test_a_name_of_two_lines_is_drawn_too(tmp_path, capsys):
    data = label(tmp_path / "set", [[(0.1, 0.1, 0.5, 0.5)]])
    row = json.loads((data / "metadata.jsonl").read_text())
    (data / "metadata.jsonl").write_text(json.dumps(row | {"image_id": "pack\n0"}))
    code, lines = printed(capsys, data, "--out", tmp_path / "out")
    assert code == 0 and lines[3:5][0] == "pack"
    assert (tmp_path / "out" / "labels.jpg").is_file()


def test_boxes_are_drawn_where_they_are(tmp_path, capsys):
    data = label(tmp_path / "set", [[(0.25, 0.5, 0.75, 1)]], (200, 100))
    printed(capsys, data, "--out", tmp_path / "out")
    sheet = np.asarray(Image.open(tmp_path / "out" / "labels.jpg"), dtype=int)
    rows, columns = np.nonzero(np.abs(sheet - GREEN).max(2) < 24)
    left, top = GAP, 3 * LINE + GAP + TILE // 4  # a photo of 2:1 in its square
    inside = rows > 3 * LINE + GAP  # below the legend
    corners = [columns[inside].min(), rows[inside].min(), columns[inside].max(), rows[inside].max()]
    expected = [left + TILE // 4, top + TILE // 4, left + 3 * TILE // 4, top + TILE // 2]
    assert np.abs(np.subtract(corners, expected)).max() <= 3


@pytest.mark.parametrize(
    ("with_tables", "without", "drawn"),
    [(100, 0, (12, 0)), (99, 1, (11, 1)), (50, 50, (6, 6)), (0, 40, (0, 12)), (3, 40, (1, 11)),
     (2, 1, (2, 1))],
)  # fmt: skip
def test_twelve_photos_of_both_kinds_are_drawn(with_tables, without, drawn):
    chosen = choose([[1]] * with_tables + [[]] * without)
    assert len(set(chosen)) == len(chosen)
    assert (
        sum(at < with_tables for at in chosen),
        sum(at >= with_tables for at in chosen),
    ) == drawn


def test_a_photo_that_does_not_open_is_skipped(tmp_path, capsys):
    data = label(tmp_path / "set", [[(0.1, 0.1, 0.5, 0.5)]] * 2)
    photo = data / "images" / "pack0.jpg"
    photo.write_bytes(photo.read_bytes()[:400])
    code, lines = printed(capsys, data, "--out", tmp_path / "out")
    assert code == 1 and lines[2] == "1 skipped" and "pack0.jpg is damaged" in lines[3]


def test_a_mistake_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err


def test_labels_are_checked_without_what_models_need(tmp_path):
    data = label(tmp_path / "set", [[(0.1, 0.1, 0.5, 0.5)]])
    code = (
        "import sys; from nutrition_vl.data.__main__ import main; "
        f"assert not main([{str(data)!r}, '--out', {str(tmp_path / 'out')!r}]); "
        "print('loaded:', *{'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
