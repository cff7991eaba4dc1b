"""The file of answers: one command at a time, whole lines only."""

import pytest

from nutrition_vl.running.answers_file import AnswersFile, provenance


def test_two_commands_never_write_to_one_file(tmp_path):
    file = AnswersFile(tmp_path / "answers.jsonl", {})
    other = AnswersFile(tmp_path / "answers.jsonl", {}).only_command()
    with file.only_command(), pytest.raises(ValueError, match=r"answers\.jsonl: let it end"), other:
        pass
    with AnswersFile(tmp_path / "answers.jsonl", {}).only_command():
        pass


def test_a_line_that_is_no_answer_is_named(tmp_path):
    answers = AnswersFile(tmp_path / "answers.jsonl", {})
    answers.begin()
    answers.file.write_text('{"photo": "a.jpg"}\n{"id": "b"}\n')
    with pytest.raises(ValueError, match=r"answers\.jsonl, line 2 is no prediction of ours"):
        answers.missing([])


def test_a_copied_model_is_the_same_and_another_adapter_is_not(other):
    demo = provenance("demo", None)
    assert demo["adapter"] == provenance("demo", "demo")["adapter"]
    assert provenance("demo", other)["adapter"] != demo["adapter"]
    assert provenance("demo", "none") == demo | {"adapter": "none"}
