"""Corrected boxes on disk: a folder that training reads, undoable, never overwritten."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from nutrition_vl.data import load_split
from nutrition_vl.data.corrections import read_corrections
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.labels import LabelFolder, Place

PACK = DEMO / "examples" / "pack_1.jpg"
BOXES, LABELS = [[54.0, 72.0, 270.0, 360.0]], ["nutrition-table-text"]


def test_a_saved_photo_is_a_row_of_a_labelled_source(tmp_path):
    folder = LabelFolder(tmp_path / "labels")
    folder.save(PACK, (540, 720), BOXES, LABELS)
    rows = load_split(tmp_path / "labels")
    assert rows["xyxy"][0] == [pytest.approx(BOXES[0], abs=0.01)]
    assert rows["label"][0] == LABELS
    assert rows[0]["image"].size == (540, 720)


def test_a_photo_turned_by_its_tag_keeps_its_upright_boxes(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6
    side = tmp_path / "side.jpg"
    Image.open(PACK).transpose(Image.Transpose.ROTATE_90).save(side, exif=tag)
    LabelFolder(tmp_path / "labels").save(side, (540, 720), BOXES, LABELS)
    rows = load_split(tmp_path / "labels")
    assert rows["xyxy"][0] == [pytest.approx(BOXES[0], abs=0.01)]
    assert (rows["width"][0], rows["height"][0]) == (540, 720)


def test_each_undo_takes_back_one_save(tmp_path):
    folder = LabelFolder(tmp_path)
    first = folder.save(PACK, (540, 720), BOXES, LABELS)
    folder.save(PACK, (540, 720), [], [])
    assert folder.rows()[0]["objects"]["bbox"] == []
    folder.undo()
    assert folder.rows() == [json.loads(json.dumps(first))]
    folder.undo()
    assert folder.rows() == []
    assert not list(tmp_path.glob("*.jpg"))
    assert folder.undo() is None


def test_a_save_of_an_older_page_is_undone(tmp_path):
    """Its history named the photo only: there were no corrections of sources."""
    folder = LabelFolder(tmp_path)
    row = folder.save(PACK, (540, 720), BOXES, LABELS)
    line = {"file_name": row["file_name"], "before": None}
    (tmp_path / ".history.jsonl").write_text(json.dumps(line) + "\n")
    assert folder.undo() == row["file_name"]
    assert folder.rows() == []


def test_two_photos_of_one_name_are_two_rows(tmp_path):
    other = tmp_path / "other" / "pack_1.jpg"
    other.parent.mkdir()
    Image.new("RGB", (60, 80), "white").save(other)
    folder = LabelFolder(tmp_path / "labels")
    folder.save(PACK, (540, 720), BOXES, LABELS)
    folder.save(other, (60, 80), [], [])
    assert len(load_split(tmp_path / "labels")) == 2
    third = tmp_path / "third.jpg"
    third.write_bytes(b"x")
    assert folder.first_unlabelled([PACK, other]) is None
    assert folder.first_unlabelled([PACK, third, other]) == third


def test_visitors_who_save_at_the_same_time_lose_nothing(tmp_path):
    photos = [tmp_path / f"{number}.jpg" for number in range(40)]
    for number, photo in enumerate(photos):
        photo.write_bytes(bytes([number]))
    folder = LabelFolder(tmp_path / "labels")
    with ThreadPoolExecutor(8) as visitors:
        list(visitors.map(lambda photo: folder.save(photo, (540, 720), BOXES, LABELS), photos))
        list(visitors.map(lambda n: folder.correct(place(n), [], []), range(40)))
    assert sorted(row["image_id"].partition("-")[0] for row in folder.rows()) == sorted(
        photo.stem for photo in photos
    )
    assert len(lines_of(tmp_path / "labels" / "packs" / "corrections.jsonl")) == 40
    assert len({folder.undo() for _ in range(80)}) == 80
    assert folder.rows() == lines_of(tmp_path / "labels" / "packs" / "corrections.jsonl") == []


def place(photo):
    """The correction of a photo of the source packs."""
    return Place.of_source("packs", str(photo), "val")


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_correction_replaces_the_photos_entry_and_is_undone(tmp_path):
    folder = LabelFolder(tmp_path)
    folder.correct(place("a"), [], [])
    file = folder.correct(place("a"), BOXES, LABELS)
    folder.correct(place("b"), [], [])
    assert [(entry["id"], entry["xyxy"]) for entry in lines_of(file)] == [("a", BOXES), ("b", [])]
    assert folder.correction(place("a")) == read_corrections(file, "val")["a"]
    assert [folder.undo(), folder.undo()] == ["b", "a"]
    assert [(entry["id"], entry["xyxy"]) for entry in lines_of(file)] == [("a", [])]
    assert folder.rows() == []


def test_corrections_are_read_as_those_of_the_audit(tmp_path):
    """The photo's true box is replaced, others stay; a source of its own has a file of its own."""
    folder = LabelFolder(tmp_path / "labels")
    file = folder.correct(Place.of_source("packs", "pack_1", "examples"), BOXES, LABELS)
    folder.correct(Place.of_source("others", "pack_1", "examples"), [], [])
    as_labelled = load_split(DEMO / "examples", "examples")
    rows = load_split(DEMO / "examples", "examples", corrections=file)
    changed = [n for n, row in enumerate(rows["xyxy"]) if row != as_labelled["xyxy"][n]]
    assert [rows["id"][n] for n in changed] == ["pack_1"]
    assert rows["xyxy"][changed[0]] == BOXES


def test_a_file_with_a_broken_line_is_not_cut_short(tmp_path):
    folder = LabelFolder(tmp_path)
    folder.correct(place("a"), [], [])
    file = tmp_path / "packs" / "corrections.jsonl"
    file.write_text("{broken\n" + file.read_text())
    before = file.read_text()
    with pytest.raises(ValueError, match=r"corrections\.jsonl, line 1 is not JSON"):
        folder.correct(place("b"), [], [])
    assert file.read_text() == before
