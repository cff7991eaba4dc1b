"""Files of a report: the original's columns, tables that read back, a page that stands alone."""

import csv
import re
from dataclasses import replace

import pytest
from datasets import Dataset
from matplotlib.figure import Figure

from eval.metrics.bootstrap import Interval
from eval.metrics.measures import tally
from eval.metrics.slices import by_label, by_size
from eval.predictions.predictions import Prediction, Truth, join
from eval.predictions.read import read
from eval.report.charts import _calibration
from eval.report.comparisons import _difference
from eval.report.console import json_line
from eval.report.files import checkpoints, markdown, write
from eval.report.results import Report, best, evaluate
from eval.report.tables import details, summary
from nutrition_vl.boxes import LABELS

TRUTHS = [
    Truth("a", 150, 100, [[10, 20, 110, 70]], [LABELS[0]]),
    Truth("b", 150, 100, [[0, 0, 50, 50]], [LABELS[0]]),
    Truth("<c>", 150, 100, [], []),
]
TUNED = {"run": "qlora", "step": 9, "seed": 42, "recipe": ("qlora", "photos", 192)}
ORIGINAL = [
    "checkpoint", "checkpoint_step", "mean_gt_iou", "precision@0.5", "recall@0.5", "f1@0.5",
]  # fmt: skip


def sheets(results):
    return [*summary(Report(results)), *details(Report(results))]


def save(report, folder):
    write(report, summary(report), details(report), folder)


def result(name, *boxes, **origin):
    entries = [
        Prediction(truth.id, some, [LABELS[0]] * len(some), [0.9] * len(some), "here", text="said")
        for truth, some in zip(TRUTHS, boxes, strict=True)
    ]
    return replace(evaluate(join(name, TRUTHS, entries)), **origin)


@pytest.fixture
def results():
    return [
        result("base", [], [[0, 0, 50, 25]], [[0, 0, 9, 9]], run="qlora"),
        result("checkpoint-9", [[10, 20, 110, 70]], [[0, 0, 50, 40]], [], **TUNED),
    ]


def test_the_best_row_has_the_highest_f1(results):
    assert best(results).name == "checkpoint-9"
    differences = Report(results).differences
    assert [(entry.first, entry.second) for entry in differences] == [("checkpoint-9", "base")] * 2
    assert differences[0].interval.value == pytest.approx((1 + 0.8) / 2 - 0.5 / 2)


def test_rows_of_one_name_are_still_different_rows(results):
    again = result("checkpoint-9", [[10, 20, 110, 70]], [[0, 0, 50, 50]], [], run="second", step=9)
    assert [*results, again].index(best([*results, again])) == 2


@pytest.fixture
def unsure():
    """Two right boxes and one on nothing, of confidence 0.9, 0.5 and 0.4."""
    found = [[[10, 20, 110, 70]], [[0, 0, 50, 50]], [[0, 0, 9, 9]]]
    entries = [
        Prediction(truth.id, boxes, [LABELS[0]], [sure], "here")
        for truth, boxes, sure in zip(TRUTHS, found, (0.9, 0.5, 0.4), strict=True)
    ]
    return join("unsure", TRUTHS, entries)


def test_boxes_below_the_threshold_count_in_average_precision_alone(unsure):
    every, shown = evaluate(unsure), evaluate(unsure, threshold=0.6)
    assert (every.scores()["precision@0.5"], every.scores()["recall@0.5"]) == (2 / 3, 1)
    assert (shown.scores()["precision@0.5"], shown.scores()["recall@0.5"]) == (1, 0.5)
    assert shown.scores()["false_alarm_rate"] == 0 and shown.scores()["mean_iou"] == 0.5
    assert shown.scores()["ap"] == every.scores()["ap"] == pytest.approx(1)
    assert shown.record()["threshold"] == 0.6 and shown.record()["found"] == 1
    (main, *_), (all_, *_) = summary(Report([shown])), summary(Report([every]))
    assert "boxes of confidence >= 0.6" in main.title and "confidence" not in all_.title
    assert details(Report([shown]))[2:] != []


def test_average_precision_hears_every_box_in_slices_too(unsure):
    shown = evaluate(unsure, threshold=0.6)
    hidden, seen = by_size(shown.answers, shown.pairing, shown.all_boxes)
    assert [(at["recall@0.5"], at["ap"]) for at in (hidden, seen)] == [(0, 1), (1, 1)]
    (label,) = by_label(shown.answers, shown.all_boxes[0])
    assert (label["recall@0.5"], label["ap"]) == (0.5, shown.scores()["ap"]) == (0.5, 1)
    (sizes,) = [sheet for sheet in details(Report([shown])) if "by size" in sheet.title]
    assert sizes.rows[0][-2:] == ["0.000", "1.000"]


@pytest.mark.parametrize("threshold", [0.6, 1])
def test_dots_are_as_large_as_boxes_are_many_shown_or_not(unsure, threshold):
    axes = Figure().add_subplot()
    _calibration(axes, evaluate(unsure, threshold=threshold))
    (dots,) = axes.collections
    assert dots.get_sizes() == pytest.approx([10 + 200 / 3] * 3)


def test_a_threshold_that_no_box_reaches_is_reported(unsure, tmp_path):
    report = Report([evaluate(unsure, threshold=1)])
    save(report, tmp_path)
    assert (tmp_path / "report.html").exists() and '"found": 0' in json_line(report)


def test_checkpoints_begin_with_the_originals_columns(results):
    rows = list(csv.DictReader(checkpoints(results).splitlines()))
    assert list(rows[0])[:6] == ORIGINAL
    assert rows[0]["checkpoint_step"] == "" and rows[1]["checkpoint_step"] == "9"
    assert float(rows[1]["mean_gt_iou"]) == pytest.approx(0.9)
    assert float(rows[1]["mean_iou_95_low"]) <= 0.9 <= float(rows[1]["mean_iou_95_high"])
    assert rows[0]["false_alarm_rate"] == "1.0"


def test_samples_read_back_to_the_same_numbers(results, tmp_path):
    save(Report(results), tmp_path)
    again = tally(read(tmp_path / "samples.csv")).scores()
    before = best(results).counts.scores()
    assert again == pytest.approx(before, abs=1e-4, nan_ok=True)


def test_the_page_stands_alone_and_shows_the_photos(results, photos, tmp_path):
    rows = Dataset.from_dict({"image": [photo.resize((150, 100)) for photo in photos]})
    save(Report(results, rows=rows), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6  # two photos with a table, three kinds
    assert page.count("<svg") == 7
    # Names in XML are no addresses to load from.
    loaded = re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert loaded == [] and "<script" not in page
    assert "&lt;c&gt;" in page or "<c>" not in page
    assert page.count("<table") == len(sheets(results))


def test_markdown_has_as_many_cells_as_headings(results):
    for sheet in sheets(results):
        lines = markdown(sheet).strip().splitlines()[2:]
        assert len({text.count("|") for text in lines}) == 1


def test_the_line_holds_no_nan(results):
    assert "NaN" not in json_line(Report(results))
    assert '"seconds_per_photo": null' in json_line(Report(results))


def test_seeds_are_averaged_step_by_step(results, tmp_path):
    other = TUNED | {"run": "second", "seed": 7}
    worse = result("checkpoint-9", [], [[0, 0, 50, 40]], [], **other)
    found = [sheet for sheet in sheets([*results, worse]) if sheet.title.endswith("over seeds")]
    # Mean IoU 0.9 and 0.4: mean 0.65, deviation 0.5 / sqrt(2).
    assert found[0].rows[0][:4] == ["qlora", "9", "2", "0.650 ± 0.354"]
    assert not [sheet for sheet in sheets(results) if sheet.title.endswith("over seeds")]


def sheet_of(results, title):
    return next(sheet for sheet in sheets(results) if title in sheet.title)


def test_every_pair_of_rows_is_compared(results):
    same = replace(results[1], answers=replace(results[1].answers, name="again"))
    found = sheet_of([*results, same], "pairs")
    assert found.head == ["row less column", "1.", "2.", "3."]
    # 0.9 - 0.25, in brackets: one in 27 samples of three photos is thrice the one without a table.
    assert found.rows[1] == ["2. checkpoint-9", "(+0.650)", "", "(+0.000)"]
    assert not [sheet for sheet in sheets(results) if "pairs" in sheet.title]


def test_a_difference_that_rounds_to_zero_is_not_called_different():
    tiny = Interval(0.0004, 0.0002, 0.0006)
    assert _difference(tiny) == ["+0.000", "[+0.000, +0.001]", "less than 0.001"]
    assert _difference(Interval(0.0, -0.1, 0.1))[2] == "not distinguishable"
    assert _difference(Interval(-0.001, -0.002, -0.0004))[2] == "different"


def test_of_many_rows_the_best_of_each_run_is_compared(results, monkeypatch):
    monkeypatch.setattr("eval.report.comparisons.MATRIX", 3)
    other = replace(results[1], run="second")
    worse = result("checkpoint-5", [], [[0, 0, 50, 25]], [], run="second", step=5)
    names = [row[0] for row in sheet_of([*results, worse, other], "pairs").rows]
    assert names == ["1. base", "2. qlora/checkpoint-9", "3. second/checkpoint-9"]


def test_a_file_with_the_name_of_a_checkpoint_is_told_apart(results):
    rows = [*results, result("base", [], [[0, 0, 50, 30]], [])]
    report = Report(rows)
    assert [report.name(row) for row in rows] == ["qlora/base", "checkpoint-9", "base"]
    table = sheet_of(rows, "above the others")
    assert [len(line) for line in table.rows] == [len(table.head)] * 2


def test_rows_about_other_photos_are_told_apart(results):
    answers = results[1].answers
    some = replace(answers, name="some", ids=["x", "y", "z"])
    rows = [*results, evaluate(some)]
    assert {entry.second for entry in Report(rows).differences} == {"base"}
    assert sheet_of([*results, evaluate(some)], "pairs").rows[0][3] == ""
