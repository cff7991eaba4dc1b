"""Every check finds its fault and nothing else; what it proposes is applied, the data untouched."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from eval.audit.__main__ import main
from eval.audit.checks import turn
from eval.audit.duplicates import dhash, near
from nutrition_vl.boxes import LABELS
from nutrition_vl.data import load_split
from nutrition_vl.matching import iou
from tests.helpers.labelled import paint

REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference"
GOOD = (0.2, 0.3, 0.6, 0.8)


def row(name, boxes, size=(100, 80), split="val", **more):
    """A row of metadata.jsonl; boxes as x0, y0, x1, y1 from 0 to 1."""
    objects = {
        "bbox": [[y0, x0, *rest[::-1]] for x0, y0, *rest in boxes],
        "category_name": [LABELS[0]] * len(boxes),
    }
    stored = {"image_id": name, "width": size[0], "height": size[1], "split": split}
    return {"file_name": f"{name}.png", "objects": objects} | stored | more


def written(folder, rows):
    """A data set of noise, the seed of a photo being its place."""
    for seed, entry in enumerate(rows):
        paint((100, 80), [], seed).save(folder / entry["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    return folder


def audited(data, out, capsys, *options):
    """What the command counts, and the corrections by photo."""
    assert main(["--data", str(data), "--out", str(out), *options]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    lines = (out / "corrections.jsonl").read_text().splitlines()
    return said["findings"], {entry["id"]: entry for entry in map(json.loads, lines)}


def test_each_fault_is_found_once(tmp_path, capsys):
    data = written(
        tmp_path,
        [
            row("good", [GOOD, (0.7, 0.1, 0.9, 0.5)]),
            row("lying", [GOOD], size=(80, 100)),
            row("outside", [(0.5, 0.5, 1.2, 0.9)]),
            row("tiny", [GOOD, (0.5, 0.5, 0.52, 0.505)]),
            row("only-tiny", [(0.5, 0.5, 0.52, 0.505)]),
            row("twice", [GOOD, (0.2, 0.3, 0.6, 0.79)]),
        ],
    )
    before = {file.name: file.read_bytes() for file in data.iterdir()}
    counts, corrections = audited(data, tmp_path / "audit", capsys)
    assert counts == {
        "turned": None, "stored size": 1, "out of range": 1, "tiny": 2, "twice": 1,
        "same product": 0, "near-duplicate": 0, "unreadable": 0,
    }  # fmt: skip
    assert corrections.keys() == {"tiny", "only-tiny", "twice"}
    assert corrections["only-tiny"]["leave_out"]
    assert before == {name: (data / name).read_bytes() for name in before}

    rows = load_split(data, "val", corrections=tmp_path / "audit" / "corrections.jsonl")
    found = {entry["id"]: entry["xyxy"] for entry in rows.remove_columns("image")}
    assert found.keys() == {"good", "lying", "outside", "tiny", "twice"}
    assert found["tiny"] == found["twice"] == [pytest.approx([20, 24, 60, 64])]
    assert len(found["good"]) == 2
    assert rows[0]["image"].size == (100, 80)
    page = (tmp_path / "audit" / "report.html").read_text()
    assert page.count("<img") == 5 and "stored as 80 x 100, is 100 x 80, turned" in page


def test_photos_in_two_splits_leave_the_first(tmp_path, capsys):
    rows = [
        row("a", [GOOD], split="train", group="7"),
        row("b", [GOOD], split="train"),
        row("c", [GOOD], split="val", group="7"),
        row("d", [GOOD], split="val"),
        row("e", [GOOD], split="val"),
    ]
    data = written(tmp_path, rows)
    with Image.open(data / "b.png") as photo:  # saved again, larger: d of val, and e of val too
        for name, times in (("d", 2), ("e", 3)):
            photo.resize((100 * times, 80 * times)).save(data / f"{name}.png")
    out = tmp_path / "audit"
    counts, corrections = audited(data, out, capsys, "--split", "train", "val")
    assert (counts["same product"], counts["near-duplicate"]) == (1, 3)
    assert {(entry["id"], entry["split"]) for entry in corrections.values()} == {
        ("a", "train"),
        ("b", "train"),
    }
    file = out / "corrections.jsonl"
    with pytest.raises(ValueError, match="leaves no photo of split train"):
        load_split(data, "train", corrections=file)
    assert load_split(data, "val", corrections=file)["id"] == ["c", "d", "e"]  # as it is


def test_the_set_of_open_food_facts_names_its_products_by_barcode(tmp_path, capsys):
    rows = [row(name, [GOOD]) for name in "abc"]
    folder = written(tmp_path, rows)
    splits = {"train": rows[:1], "val": rows[1:]}
    for split, those in splits.items():
        table = [
            {
                "image_id": entry["image_id"],
                "image": {"bytes": (folder / entry["file_name"]).read_bytes(), "path": None},
                "width": 100,
                "height": 80,
                "meta": {"barcode": {"a": "0041", "b": "0041", "c": "0042"}[entry["image_id"]]},
                "objects": entry["objects"],
            }
            for entry in those
        ]
        file = tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(table).to_parquet(file)
    options = ["--split", "train", "val"]
    counts, corrections = audited(tmp_path / "hub", tmp_path / "audit", capsys, *options)
    assert (counts["same product"], counts["stored size"]) == (1, 0)
    assert corrections["a"]["why"] == "product 0041 is also in val, as b"


def test_what_cannot_be_read_is_listed(tmp_path, capsys):
    data = written(tmp_path, [row("a", [GOOD]), row("b", [GOOD]), row("c", [(0, 0, 1)])])
    (data / "b.png").write_bytes(b"no photo")
    counts, _ = audited(data, tmp_path / "audit", capsys)
    assert counts["unreadable"] == 2
    report = (tmp_path / "audit" / "report.md").read_text()
    assert "b.png is not a photo" in report and "each box needs four numbers" in report


def test_another_class_is_neither_audited_nor_corrected(tmp_path, capsys):
    both = row("a", [GOOD, (0.5, 0.5, 0.505, 0.51)])
    both["objects"]["category_name"] = ["panel", "barcode"]
    data = written(tmp_path, [both, row("b", [])])
    assert "has the labels barcode, panel" in refused(
        capsys, "--data", data, "--out", tmp_path / "x"
    )
    counts, _ = audited(data, tmp_path / "audit", capsys, "--label", "panel")
    assert counts["tiny"] == 0


def test_a_check_that_compared_nothing_counts_nothing(tmp_path, capsys):
    unsized = {
        key: value for key, value in row("a", [GOOD]).items() if key not in ("width", "height")
    }
    counts, _ = audited(written(tmp_path, [unsized]), tmp_path / "audit", capsys)
    assert counts["stored size"] is None and counts["turned"] is None
    report = (tmp_path / "audit" / "report.md").read_text()
    assert "not checked: the data states no sizes" in report


def test_a_photo_that_the_loader_refuses_is_listed_and_not_corrected(tmp_path, capsys):
    data = written(tmp_path, [row("a", [GOOD]), row("b", [GOOD, (0.5, 0.5, 0.5, 0.9)])])
    counts, corrections = audited(data, tmp_path / "audit", capsys)
    assert counts["unreadable"] == 1 and not corrections


def test_hashes_tell_photos_apart():
    photos = [paint((200, 160), [(0.1, 0.2, 0.5, 0.9)], seed) for seed in range(6)]
    again = photos[4].resize((90, 70))
    hashes = np.array([dhash(photo) for photo in [*photos, again]])
    assert [(first, second) for first, second, _ in near(hashes)] == [(4, 6)]


def test_four_quarter_turns_are_none():
    box = np.array([GOOD])
    np.testing.assert_allclose(turn(box, 1), [[0.3, 0.4, 0.8, 0.8]])
    np.testing.assert_allclose(turn(box, 4), box)


def test_a_photo_stored_unturned_is_found_in_the_published_answers(tmp_path, capsys):
    file = REFERENCE / "exp1a_samples.csv"
    if not file.exists():
        pytest.skip("the original's result files are not here")

    with file.open() as lines:
        samples = {entry["image_id"]: entry for entry in csv.DictReader(lines)}
    boxes = {name: json.loads(entry["gt_boxes"]) for name, entry in samples.items()}
    upright = {name: [(x0, y0, x1, y1) for y0, x0, y1, x1 in gt] for name, gt in boxes.items()}
    data = written(tmp_path, [row(name, found) for name, found in upright.items()])
    counts, corrections = audited(data, tmp_path / "audit", capsys, "--predictions", str(file))
    assert counts["turned"] == 1 and counts["tiny"] == 1
    assert len(corrections["20719159_3"]["xyxy"]) == 1  # the other one was 2 x 1 pixels
    right = np.array(corrections["0041449003153_2"]["xyxy"]) / [100, 80, 100, 80]
    told = np.array(json.loads(samples["0041449003153_2"]["pred_boxes"]))
    assert iou(right, told).max() == pytest.approx(0.92, abs=0.005)


@pytest.mark.model
def test_a_checkpoint_is_asked(tmp_path, capsys):
    data = written(tmp_path, [row("broken", [GOOD]), row("a", [GOOD])])
    (data / "broken.png").write_bytes(b"no photo")
    out = tmp_path / "audit"
    counts, _ = audited(data, out, capsys, "--checkpoint", "demo", "--device", "cpu")
    assert counts["unreadable"] == 1
    (file,) = (out / "val" / "predictions").rglob("*.jsonl")
    assert file.name.startswith("demo-")
    assert "not looked for" not in (out / "report.md").read_text()


def refused(capsys, *argv):
    assert main([str(word) for word in argv]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    return said[-1]


def test_bad_input_is_one_sentence_and_overwrites_nothing(tmp_path, capsys):
    data = written(tmp_path, [row("a", [GOOD])])
    out = tmp_path / "audit"
    assert "has no split 'train'" in refused(
        capsys, "--data", data, "--split", "train", "--out", out
    )
    (data / "a.png").write_bytes(b"no photo")
    assert "holds no photo that can be read" in refused(capsys, "--data", data, "--out", out)
    assert not out.exists()
    paint((100, 80), [], 0).save(data / "a.png")
    audited(data, out, capsys)
    (out / "corrections.jsonl").write_text("edited\n")
    assert "perhaps edited" in refused(capsys, "--data", data, "--out", out)
    assert (out / "corrections.jsonl").read_text() == "edited\n"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"id": "b", "leave_out": True}, "corrects b, and there is no such photo"),
        ({"id": "a"}, "a: needs xyxy"),
        ({"id": "a", "xyxy": [[1, 2, 3]], "label": [LABELS[0]]}, "a: needs xyxy"),
        ({"id": "a", "xyxy": [[5, 2, 3, 4]], "label": [LABELS[0]]}, "a: needs xyxy"),
        ({"id": "a", "xyxy": [[1, 2, 3, 4]], "label": ["table"]}, "a: needs xyxy"),
        ({"xyxy": []}, "lacks id"),
        ({"id": ["a"], "leave_out": True}, "is no photo's name"),
        (["a"], "lacks id"),
    ],
)
def test_corrections_that_cannot_be_applied(tmp_path, entry, reason):
    data = written(tmp_path, [row("a", [GOOD])])
    file = tmp_path / "corrections.jsonl"
    file.write_text(json.dumps(entry) + "\n")
    with pytest.raises(ValueError, match=reason):
        load_split(data, "val", corrections=file)


def test_answers_about_photos_that_are_left_out_are_dropped(tmp_path, capsys):
    from eval.__main__ import main as evaluate

    data = written(tmp_path, [row(name, [GOOD]) for name in "abc"])
    corrections = tmp_path / "corrections.jsonl"
    corrections.write_text(json.dumps({"id": "b", "split": "val", "leave_out": True}) + "\n")
    ours, coco, table = (tmp_path / name for name in ("lines.jsonl", "coco.json", "table.csv"))
    ours.write_text("".join(json.dumps({"photo": f"{i}.png", "boxes": []}) + "\n" for i in "cab"))
    boxes = [{"image_id": i, "category_id": 0, "bbox": [1, 2, 3, 4], "score": 1} for i in "abc"]
    coco.write_text(json.dumps(boxes))
    table.write_text("image_id,prediction,pred_boxes,gt_boxes\na,,[],[]\nb,,[],[]\nc,,[],[]\n")
    options = ["--data", str(data), "--predictions", *map(str, (ours, coco, table))]
    for cut, photos in ((["--limit", "1"], 1), (["--corrections", str(corrections)], 2)):
        assert evaluate([*options, *cut]) == 0
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [entry["photos"] for entry in line["results"]] == [photos] * 3
    ours.write_text(ours.read_text() + json.dumps({"id": "d", "boxes": []}) + "\n")
    assert evaluate([*options, "--limit", "1"]) == 2
    assert "entry 4: photo d is not in the split" in capsys.readouterr().err


def test_corrected_truth_changes_the_score(tmp_path, capsys):
    from eval.__main__ import main as evaluate

    data = written(tmp_path, [row("a", [GOOD])])
    file, corrections = tmp_path / "row.jsonl", tmp_path / "corrections.jsonl"
    file.write_text(json.dumps({"id": "a", "boxes": [{"xyxy": [0, 0, 50, 40]}]}) + "\n")
    entry = {"id": "a", "split": "val", "xyxy": [[0, 0, 50, 40]], "label": [LABELS[0]]}
    corrections.write_text(json.dumps(entry) + "\n")
    scores = []
    for options in ([], ["--corrections", str(corrections)]):
        assert evaluate(["--predictions", str(file), "--data", str(data), *options]) == 0
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        scores.append(line["results"][0]["mean_iou"])
    assert scores == [pytest.approx(480 / (1600 + 2000 - 480)), 1]
