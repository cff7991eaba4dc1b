"""Lines that were read become tables; the reader itself is an extra."""

import json
import sys

import pytest

from eval import ocr
from eval.ocr import Line, main, tables
from tests.helpers.labelled import label

ROWS = ["Nutrition Facts", "Energy 240 kcal", "Total Fat 8 g", "Carbohydrate 37 g", "Protein 3 g"]


def column(rows, left=100, top=50):
    """Lines of 20 pixels, 30 apart."""
    return [
        Line((left, top + 30 * number, left + 200, top + 30 * number + 20), text)
        for number, text in enumerate(rows)
    ]


def test_a_table_is_the_hull_of_its_lines():
    (found,) = tables(column([*ROWS, "12 %"]))
    assert found["xyxy"] == [100, 50, 300, 220]
    assert 0.5 < found["confidence"] < 1


def test_words_are_known_with_accents_and_in_other_languages():
    rows = ["Énergie 1000 kJ", "Matières grasses", "dont saturés", "Glucides", "Protéines", "Sel"]
    assert len(tables(column(rows))) == 1


def test_two_tables_far_apart_are_two():
    found = tables([*column(ROWS), *column(ROWS, left=600)])
    assert [entry["xyxy"][0] for entry in found] == [100, 600]


def test_lines_of_something_else_are_no_table():
    assert tables([]) == []
    assert tables(column(["Ingredients: sugar, salt", "Best before 2027", "500 g", "kettle"])) == []


def test_a_line_beside_the_table_does_not_widen_it():
    far = Line((900, 50, 950, 70), "10 g")
    assert tables([*column(ROWS), far])[0]["xyxy"] == [100, 50, 300, 190]


def test_the_file_is_one_of_predictions_and_only_gaps_are_read(tmp_path, monkeypatch, capsys):
    data = label(tmp_path / "data", [[(0.25, 0.17, 0.75, 0.63)], []], size=(400, 300))
    asked = []

    def reader():
        return lambda photo: asked.append(photo.size) or column(ROWS)

    monkeypatch.setattr(ocr, "_reader", reader)
    out = tmp_path / "ocr.jsonl"
    for _ in range(2):
        assert main(["--data", str(data), "--out", str(out)]) == 0
    assert asked == [(400, 300)] * 2
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["id"], len(row["boxes"])) for row in rows] == [("pack0", 1), ("pack1", 1)]

    from eval.__main__ import main as evaluate

    capsys.readouterr()
    assert evaluate(["--predictions", str(out), "--data", str(data)]) == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert (row["recall@0.5"], row["false_alarm_rate"]) == (1, 1)


def test_a_file_of_labels_is_not_written_to(tmp_path, capsys):
    labels = tmp_path / "instances.json"
    labels.write_text('{"images": []}')
    assert main(["--data", str(tmp_path), "--out", str(labels)]) == 2
    assert "instances.json does not end in .jsonl" in capsys.readouterr().err
    assert labels.read_text() == '{"images": []}'


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "ocr.jsonl")]) == 2
    assert "pip install rapidocr onnxruntime" in capsys.readouterr().err
    assert not (tmp_path / "ocr.jsonl").exists()


def test_the_reader_reads(tmp_path):
    pytest.importorskip("rapidocr", reason="rapidocr is not installed")
    from PIL import Image, ImageDraw, ImageFont

    photo = Image.new("RGB", (400, 200), "white")
    font = ImageFont.load_default(size=40)
    ImageDraw.Draw(photo).text((60, 60), "Protein 12 g", "black", font)
    (line,) = ocr._reader()(photo)
    assert "Protein" in line.text
    x0, y0, x1, y1 = line.xyxy
    assert 40 < x0 < 70 and 50 < y0 < 80 and 250 < x1 < 340 and 90 < y1 < 130
