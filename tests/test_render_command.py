"""`python -m training.render` makes a data set that our own reader reads."""

import json

import pytest

from nutrition_vl.boxes import LABELS
from nutrition_vl.data import load_split, truth
from training.render.__main__ import main


def render(folder, *options):
    main([*"--count 6 --size 96 --workers 1 --out".split(), str(folder), *options])


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


@pytest.mark.parametrize("options", ["--count 0", "--plain -1", "--count 1 --plain 2", "--pairs 5"])
def test_impossible_numbers_are_one_sentence(tmp_path, options):
    with pytest.raises(SystemExit, match=r"--(count|pairs)"):
        render(tmp_path, *options.split())


def test_a_split_that_was_cut_off_is_drawn_again(rendered, tmp_path, monkeypatch):
    def cut(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.render.__main__.objects", cut)
        with pytest.raises(KeyboardInterrupt):
            render(tmp_path)
    render(tmp_path)
    assert (tmp_path / "metadata.jsonl").read_text() == (rendered / "metadata.jsonl").read_text()


def test_a_split_is_not_written_twice(rendered):
    with pytest.raises(SystemExit, match="has a split 'train' already"):
        render(rendered)


def test_a_folder_without_photos_is_one_sentence(tmp_path):
    with pytest.raises(SystemExit, match=r"there is no \.jpg in"):
        render(tmp_path, "--backgrounds", str(tmp_path))
