"""The end of a file that a command goes on with: ours is repaired, another's stays."""

import pytest

from nutrition_vl.running.resume import locked


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1}\n{"b": 2', '{"a": 1}\n'),
        ('{"a": 1}\n{', '{"a": 1}\n'),
        ('{"a": 1}\n{"b": 2}', '{"a": 1}\n'),
        ('{"a"', ""),
        ('{"a": 1}\n', '{"a": 1}\n'),
        ("", ""),
    ],
)
def test_a_line_without_its_end_goes(tmp_path, before, after):
    file = tmp_path / "answers.jsonl"
    file.write_text(before)
    with locked(file) as stream:
        stream.write(b"next\n")
    assert file.read_text() == f"{after}next\n"


@pytest.mark.parametrize(
    "content", ['{"images": []}', '{\n  "images": []\n}', "a,b\n1,2", "[1,\n2]"]
)
def test_a_file_of_something_else_is_refused_and_stays(tmp_path, content):
    file = tmp_path / "instances.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"instances\.json does not hold JSON lines"), locked(file):
        pass
    assert file.read_text() == content
