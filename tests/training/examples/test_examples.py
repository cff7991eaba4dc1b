"""What is trained: the detector's own prompt, the answer to its end, and no image token, ever."""

import pytest

from nutrition_vl import prompts
from nutrition_vl.data import load_split
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget, load_processor
from tests.helpers.labelled import label
from training.examples.examples import (
    Collator,
    answer_text,
    length,
    to_example,
    to_examples,
    trained_tokens,
)

BOXES = [[(0.25, 0.25, 0.75, 0.5)], [], [(0.1, 0.6, 0.4, 0.9), (0.5, 0.1, 0.9, 0.3)]]
ANSWER = (
    "<|object_ref_start|>nutrition-table<|object_ref_end|>"
    "<|box_start|>(250,250),(750,500)<|box_end|>"
)


@pytest.fixture(scope="module")
def processor():
    return load_processor(DEMO, PixelBudget(max_tokens=40))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return load_split(label(tmp_path_factory.mktemp("data") / "set", BOXES, (320, 200)), "train")


@pytest.fixture
def examples(rows, processor):
    return [to_example(row, processor) for row in rows]


def decoded(processor, batch):
    return [
        processor.tokenizer.decode(row, skip_special_tokens=False) for row in trained_tokens(batch)
    ]


def test_an_example_is_the_prompt_the_answer_and_the_resized_photo(examples):
    first = examples[0]
    assert first["prompt"] == prompts.ask()
    assert first["completion"] == prompts.answer(ANSWER)
    assert first["images"][0].size == (224, 140)  # 8 x 5 tokens of 28 pixels a side


def test_answer_only_trains_exactly_the_answers(rows, examples, processor):
    batch = Collator(processor, completion_only_loss=True)(examples)
    assert decoded(processor, batch) == [answer_text(row) + "<|im_end|>\n" for row in rows]
    assert decoded(processor, batch)[0] == ANSWER + "<|im_end|>\n"
    assert decoded(processor, batch)[1] == "<|im_end|>\n"


def test_all_text_trains_every_word_but_no_image_token(examples, processor):
    batch = Collator(processor, completion_only_loss=False)(examples)
    chat = processor.apply_chat_template(
        prompts.ask() + examples[0]["completion"], tokenize=False
    ).replace("<|image_pad|>", "")
    assert decoded(processor, batch)[0] == chat
    shown = batch["input_ids"] == processor.image_token_id
    assert shown.any() and (batch["labels"][shown] == -100).all()
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_training_and_detection_see_the_very_same_question(rows, examples, processor, demo):
    batch = Collator(processor, completion_only_loss=True)(examples[:1])
    asked = ModelInputs.from_photo(rows[0]["image"], processor)
    question = len(asked.ids)
    assert batch["input_ids"][0, :question].tolist() == asked.ids.tolist()
    assert (batch["labels"][0, :question] == -100).all()
    assert (batch["labels"][0, question:] != -100).all()
    assert batch["pixel_values"].equal(asked.pixels)
    assert batch["image_grid_thw"].equal(asked.grid)


def test_a_batch_names_its_photos(examples, processor):
    assert Collator(processor, completion_only_loss=True)(examples)["photos"] == [
        "pack0",
        "pack1",
        "pack2",
    ]


def test_the_length_is_told_without_opening_the_photo(rows, examples, processor):
    facts = rows.remove_columns("image")
    batch = Collator(processor, completion_only_loss=True)(examples)
    assert [length(row, processor) for row in facts] == batch["attention_mask"].sum(1).tolist()


def test_rows_become_examples_only_when_asked_for(rows, processor):
    view = to_examples(rows, processor)
    assert len(view) == 3
    assert view[2]["completion"] == prompts.answer(answer_text(rows[2]))
    assert [example["id"] for example in view] == ["pack0", "pack1", "pack2"]
