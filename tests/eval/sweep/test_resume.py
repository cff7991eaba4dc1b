"""Predictions files that grow: what they lack, and answers to photos that are no longer there."""

import json
from io import BytesIO

import pytest
from datasets import Dataset

from eval.sweep.resume import STAMP, gaps, stamped
from nutrition_vl.data import load_split
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
def test_an_answer_to_another_photo_of_that_name_is_noticed(tmp_path, made):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir(), after.mkdir()
    rows = stamped(load_split(made(before, [0, 1, 2])))
    other = stamped(load_split(made(after, [0, 7, 2])))
    file = tmp_path / "row.jsonl"
    lines = [{"id": row["id"], STAMP: row[STAMP]} for row in rows.select([0, 1])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert gaps(rows, file) == [2]
    assert gaps(other.select([0, 2]), file) == [1]
    with pytest.raises(ValueError, match=r"row\.jsonl was predicted with another photo pack1 than"):
        gaps(other, file)
    old = [{"id": line["id"]} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert gaps(other, file) == [2]


@pytest.mark.parametrize("line", ['{"id', '{"name": "a"}', '{"id": 1}', '["a"]', "7"])
def test_a_broken_line_inside_is_named(tmp_path, line):
    file = tmp_path / "row.jsonl"
    file.write_text(f'{{"id": "a"}}\n{line}\n{{"id": "b"}}\n')
    with pytest.raises(ValueError, match=r"row\.jsonl, line 2"):
        gaps(Dataset.from_dict({"id": ["a"], STAMP: [""]}), file)
