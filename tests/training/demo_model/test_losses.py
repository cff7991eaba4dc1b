"""The embedded base's pre-training: its short cuts compute what the ordinary classes compute."""

from itertools import islice

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2VLForConditionalGeneration

from nutrition_vl import boxes, prompts
from nutrition_vl.models.checkpoints import DEMO
from training.demo_model import architecture as tiny
from training.demo_model import build as demo_model
from training.demo_model import losses as pretrain
from training.demo_model.__main__ import main
from training.render.camera.scenes import Scene

HEIGHT, WIDTH = 84, 112


@pytest.fixture(scope="module")
def processor():
    return tiny.processor(max_tokens=16)


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    return Qwen2VLForConditionalGeneration(tiny.config(processor.tokenizer)).eval()


@pytest.fixture(scope="module")
def scene():
    """Two photos: two tables out of reading order on the first, none on the second."""
    nothing = [float("nan")] * 4
    found = [[[0.1, 0.5, 0.6, 0.9], [0.25, 0.05, 0.75, 0.45]], [nothing, nothing]]
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH)).float() / 255
    return Scene(pixels, torch.tensor(found), torch.tensor([[0, 2], [-1, -1]]))


@pytest.fixture(scope="module")
def ordinary(processor, scene):
    """The same photos and answers through Qwen2-VL's own processor."""
    tables = [[250, 50, 750, 450], [100, 500, 600, 900]]
    labels = [boxes.LABELS[2], boxes.LABELS[0]]
    answer = boxes.to_text(boxes.make_detections(tables, labels), (1000, 1000))
    prompt = processor.apply_chat_template(prompts.ask(), add_generation_prompt=True)
    return processor(
        text=[prompt + answer + "<|im_end|>", prompt + "<|im_end|>"],
        images=[(photo * 255).round().to(torch.uint8) for photo in scene.pixels],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )


@torch.no_grad()
def test_the_batched_tower_sees_what_the_model_sees(model, scene, ordinary):
    theirs = model.model.visual(ordinary.pixel_values, grid_thw=ordinary.image_grid_thw)
    ours = pretrain.visual_tokens(model, scene)
    torch.testing.assert_close(ours.flatten(0, 1), theirs.pooler_output, atol=1e-5, rtol=1e-4)


def test_the_written_tokens_and_positions_are_the_processors(model, processor, scene, ordinary):
    batch = pretrain.Writer(processor, model).write(scene)
    assert batch.ids.tolist() == ordinary.input_ids.tolist()
    theirs, _ = model.model.get_rope_index(
        ordinary.input_ids[:1],
        mm_token_type_ids=ordinary.mm_token_type_ids[:1],
        image_grid_thw=ordinary.image_grid_thw[:1],
    )
    assert torch.equal(batch.positions[:, :1], theirs)


@torch.no_grad()
def test_the_answer_loss_is_the_models_own(model, processor, scene, ordinary, monkeypatch):
    monkeypatch.setattr(pretrain, "DECISION", 1.0)  # the model weighs all tokens alike
    batch = pretrain.Writer(processor, model).write(scene)
    helpers = pretrain.Helpers(model.config.text_config.hidden_size)
    ours, _ = pretrain.loss_of(model, helpers, scene, batch)
    theirs = model(**ordinary, labels=batch.labels).loss
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_decisions_weigh_four_times_as_much_as_digits():
    logits = torch.zeros(2, 3, 8)
    logits[0, 0, 1], logits[1, 0, 7] = 2.0, 5.0
    labels = torch.tensor([[1, 2, 7], [7, pretrain.IGNORE, pretrain.IGNORE]])
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten().clamp_min(0),
                                               reduction="none").view(2, 3)  # fmt: skip
    expected = (4 * losses[0, 0] + losses[0, 1] + 4 * losses[0, 2] + 4 * losses[1, 0]) / 13
    torch.testing.assert_close(pretrain.answer_loss(logits, labels), expected)


def test_only_the_answer_is_learnt(model, processor, scene):
    batch = pretrain.Writer(processor, model).write(scene)
    learnt = [row[row != pretrain.IGNORE] for row in batch.labels]
    said = [processor.tokenizer.decode(row) for row in learnt]
    assert said[0].startswith("<|object_ref_start|>nutrition-table-small<|object_ref_end|>")
    assert said[0].endswith("<|box_start|>(100,500),(600,900)<|box_end|><|im_end|>")
    assert said[1] == "<|im_end|>"


def test_a_token_belongs_to_the_table_under_its_centre():
    found = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]], [[torch.nan] * 4] * 2])
    centre = torch.tensor([[[0.25, 0.5], [0.75, 0.5]]])
    inside, box = pretrain._owner(centre, found)
    assert inside.tolist() == [[True, True], [False, False]]
    assert box[0].tolist() == [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]


def test_a_folder_without_photos_is_one_sentence(tmp_path, capsys):
    options = ["--out", str(tmp_path / "out"), "--backgrounds", str(tmp_path), "--device", "cpu"]
    assert main(options) == 2
    assert "training.demo_model: there is no .jpg in" in capsys.readouterr().err


def test_a_finished_base_is_trained_further(tmp_path):
    run = demo_model.Run(tmp_path, minutes=1, peak=1e-3, device="cpu", start=DEMO)
    stored = load_file(DEMO / "model.safetensors")
    embedding = run.model.model.language_model.embed_tokens.weight
    assert torch.equal(embedding, stored["model.embed_tokens.weight"].float())
    assert torch.equal(run.helpers.sides.bias, load_file(DEMO / demo_model.HELPERS)["sides.bias"])
    assert run.plan == demo_model.FURTHER["cpu"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_training_further_ends_as_the_whole_training_does(device):
    plan = demo_model.FURTHER[device]
    assert plan[-1] == demo_model.PLANS[device][-1]
    assert [stage.until for stage in plan] == sorted(stage.until for stage in plan)
    assert all(stage.language for stage in plan)


def test_shots_made_ahead_come_in_order():
    assert list(islice(demo_model.ahead(iter(range(9))), 5)) == [0, 1, 2, 3, 4]
