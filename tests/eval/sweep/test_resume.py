"""Predictions files that grow: missing photos, replaced photos, half lines."""

import json
from io import BytesIO
from multiprocessing import get_context

import pytest
from datasets import Dataset

from eval.sweep.resume import PHOTO_HASH, missing_rows, with_photo_hash
from nutrition_vl.data import load_split
from nutrition_vl.running.resume import as_line, locked
from tests.helpers.labelled import label, paint


def parquet(folder, seeds):
    """A data set with its photos inside, as the hub has it."""
    table = []
    for number, seed in enumerate(seeds):
        photo = BytesIO()
        paint((112, 84), [], seed).save(photo, "JPEG")
        image = {"bytes": photo.getvalue(), "path": None}
        objects = {"bbox": [[0.1, 0.1, 0.5, 0.5]], "category_name": ["nutrition-table"]}
        table.append({"image_id": f"pack{number}", "image": image, "objects": objects})
    Dataset.from_list(table).to_parquet(folder / "val.parquet")
    return folder


def listed(folder, seeds):
    """The same as files beside metadata.jsonl."""
    label(folder, [[]] * len(seeds))
    for number, seed in enumerate(seeds):
        paint((112, 84), [], seed).save(folder / "images" / f"pack{number}.jpg")
    return folder


@pytest.mark.parametrize("made", [parquet, listed])
def test_a_prediction_for_another_photo_of_that_name_is_refused(tmp_path, made):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir(), after.mkdir()
    rows = with_photo_hash(load_split(made(before, [0, 1, 2])))
    other = with_photo_hash(load_split(made(after, [0, 7, 2])))
    file = tmp_path / "row.jsonl"
    lines = [{"id": row["id"], PHOTO_HASH: row[PHOTO_HASH]} for row in rows.select([0, 1])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert missing_rows(rows, file) == [2]
    assert missing_rows(other.select([0, 2]), file) == [1]
    with pytest.raises(ValueError, match=r"row\.jsonl was predicted with another photo pack1 than"):
        missing_rows(other, file)
    old = [{"id": line["id"]} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert missing_rows(other, file) == [2]


@pytest.mark.parametrize("line", ['{"id', '{"name": "a"}', '{"id": 1}', '["a"]', "7"])
def test_a_broken_line_inside_is_named(tmp_path, line):
    file = tmp_path / "row.jsonl"
    file.write_text(f'{{"id": "a"}}\n{line}\n{{"id": "b"}}\n')
    with pytest.raises(ValueError, match=r"row\.jsonl, line 2"):
        missing_rows(Dataset.from_dict({"id": ["a"], PHOTO_HASH: [""]}), file)


def test_a_half_line_is_missing_and_cut_off_before_the_next_is_appended(tmp_path):
    file = tmp_path / "row.jsonl"
    whole, half = as_line({"id": "a"}), as_line({"id": "b", "boxes": []})[:-9]
    file.write_bytes(whole + half)
    rows = Dataset.from_dict({"id": ["a", "b"], PHOTO_HASH: ["", ""]})
    assert missing_rows(rows, file) == [1]
    assert file.read_bytes() == whole + half  # reading changes nothing
    with locked(file) as stream:
        stream.write(as_line({"id": "b"}))
    assert file.read_bytes() == whole + as_line({"id": "b"})
    assert missing_rows(rows, file) == []


def append(file, number):
    """Appends lines with a number, one by one, as processes that share a sweep do."""
    for index in range(50):
        with locked(file, wait=True) as stream:
            stream.write(as_line({"id": f"{number}-{index}", "text": "x" * 5000}))


def test_processes_append_whole_lines_to_one_file(tmp_path):
    file = tmp_path / "row.jsonl"
    several = get_context("fork")  # imports nothing again
    writers = [several.Process(target=append, args=(file, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    names = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert sorted(names) == sorted(f"{one}-{index}" for one in range(3) for index in range(50))
