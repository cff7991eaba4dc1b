"""Our decoding against transformers' own, token by token: the same answers, with less work."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from nutrition_vl.boxes import GRID, LABELS, from_text
from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.decoder import Decoder
from nutrition_vl.decoding.generate import generate
from nutrition_vl.decoding.inputs import ModelInputs, collate
from nutrition_vl.decoding.kernels.cuda_graphs import Eager, Rounded
from nutrition_vl.decoding.vision import encode_image
from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget, load_processor
from nutrition_vl.models.random_weights import add_random_adapter, random_base, skeleton
from nutrition_vl.models.runtime import detect_runtime

pytestmark = pytest.mark.model

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "real" / "images"


class Counted(Eager):
    """Counts the steps and their tokens."""

    def __init__(self):
        self.steps = []

    def run(self, key, function, *inputs):
        if "step" in key:
            self.steps.append(inputs[0].shape[-1])
        return super().run(key, function, *inputs)


def noise(count, side=(60, 80), seed=0):
    """Photos of nothing, each of its own brightness, so that answers differ."""
    chance = np.random.default_rng(seed)
    shape = (count, *side, 3)
    pixels = chance.integers(0, 256, shape) * chance.random((count, 1, 1, 3))
    return [Image.fromarray(photo.astype(np.uint8)) for photo in pixels]


def untrained(spread, seed):
    """A detector of the demo's shape whose weights are `spread` times as wild as at the start."""
    shape = skeleton("demo", DEMO, "main").config
    shape.text_config.initializer_range *= spread
    model = add_random_adapter(random_base(shape, detect_runtime("cpu"), seed=seed), seed)
    return Detector.around(model.get_base_model(), load_processor(DEMO, PixelBudget(4, 9)))


@pytest.fixture(scope="module")
def wild():
    """Untrained weights that say boxes."""
    return untrained(4, 1)


def prepared(detector, photos):
    detector.detect(photos[:1])  # after which its adapter stays in use
    return [ModelInputs.from_photo(photo, detector.processor) for photo in photos]


def ids(answers):
    return [[token.id for token in answer.tokens] for answer in answers]


def decode(detector, some, runner, together=False):
    """Answers singly or in one batch."""
    decoder = Decoder(detector.model, detector.start, runner)
    batches = [some] if together else [[one] for one in some]
    return [answer for batch in batches for answer in decoder.decode(batch, "own")]


@pytest.fixture(scope="module")
def shown(demo, photos):
    """Photos of several shapes, then packs with a table, which in 100 tokens are answered in half
    the time of the demo's 200 and more."""
    packs = [open_photo(file) for file in sorted((DEMO / "examples").glob("*.jpg"))]
    less = load_processor(DEMO / "adapter", PixelBudget(max_tokens=100))
    return prepared(demo, photos) + [ModelInputs.from_photo(pack, less) for pack in packs]


@pytest.fixture(scope="module")
def oracle(demo, shown):
    """What transformers answers in the grammar."""
    return generate(demo.model, demo.processor.tokenizer, shown, demo.start)


@pytest.mark.parametrize("together", [False, True], ids=["singly", "in a batch"])
def test_answers_are_those_of_transformers(demo, shown, oracle, together):
    answers = decode(demo, shown, Eager(), together)
    assert ids(answers) == ids(oracle)
    assert sum(len(answer.boxes) for answer in answers) > 4
    for answer, plain in zip(answers, oracle, strict=True):
        for box, other in zip(answer.boxes, plain.boxes, strict=True):
            assert (box.label, box.corners) == (other.label, other.corners)
            assert np.allclose(box.refined, other.refined, atol=0.02)
            assert box.score == pytest.approx(other.score, abs=1e-4)
    assert [token.overruled for answer in answers for token in answer.tokens].count(True) < 5


def test_a_decoded_box_is_the_box_in_the_text(demo, shown, oracle):
    for answer in oracle:
        text = demo.processor.tokenizer.decode([token.id for token in answer.tokens])
        parsed = from_text(text, (GRID, GRID)).detections
        assert [box.corners for box in answer.boxes] == [tuple(box) for box in parsed.xyxy]
        assert [box.label for box in answer.boxes] == [LABELS[kind] for kind in parsed.class_id]


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the real photos are not here")
def test_real_photos_get_the_words_of_transformers():
    detector = Detector.load("demo", device="cpu")  # at its own resolution
    some = prepared(detector, [open_photo(file) for file in sorted(REAL.iterdir())[3::18]])
    plain = generate(detector.model, detector.processor.tokenizer, some, detector.start)
    assert ids(decode(detector, some, Eager(), together=True)) == ids(plain)


def test_rounded_shapes_answer_the_same(demo, shown, oracle):
    """As CUDA graphs need them: padded rows, words and slots change nothing."""
    for together in (False, True):
        assert ids(decode(demo, shown, Rounded(), together)) == ids(oracle)


def test_flash_attention_answers_the_same_in_float32(demo, shown, oracle):
    decoder = Decoder(demo.model, demo.start, Eager(), flash=True)
    assert ids(decoder.decode(shown, "own")) == ids(oracle)


def words(detector, question, answer):
    """Each token's logits (tokens, vocabulary), by one ordinary pass over prompt and answer."""
    said = torch.tensor([[token.id for token in answer.tokens]])
    inputs = collate([question], 0)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], said], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    none = torch.zeros_like(said, dtype=inputs["mm_token_type_ids"].dtype)
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], none], 1)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        return detector.model(**inputs).logits[0, len(question.ids) - 1 : -1].double()


def test_every_token_is_the_likeliest_that_the_grammar_allows(wild):
    """Untrained weights, where the grammar decides much: token by token against one plain pass."""
    some = prepared(wild, noise(6))
    answers = decode(wild, some, Eager(), together=True)
    assert len({tuple(answer) for answer in ids(answers)}) > 2
    for question, answer in zip(some, answers, strict=True):
        state = wild.start
        for token, logits in zip(answer.tokens, words(wild, question, answer), strict=True):
            choices = list(state.choices())
            free = logits[choices]
            assert logits[token.id] >= free.max() - 1e-3
            score = (logits[token.id] - free.logsumexp(0)).item()
            assert token.score == pytest.approx(score, abs=1e-3)
            assert token.choices == len(choices)
            state = state.after(token.id)
        assert state.ended


def test_forced_and_guessed_tokens_cost_no_steps(demo, shown):
    """24 tokens: 6 up to the first digit and one digit come with the prompt, a comma with the digit
    before it. Token by token that leaves 23 steps, with a draft one for each of 12 digits."""
    spelling = demo.start.spelling
    script = [*spelling.spell((123, 145, 678, 901)), spelling.end]
    decoder = Decoder(demo.model, demo.start, Counted())
    (answer,) = decoder.decode(shown[:1], "own", forced=script)
    assert [token.id for token in answer.tokens] == script
    assert [box.corners for box in answer.boxes] == [(123, 145, 678, 901)]
    assert len(decoder.runner.steps) == 12


def test_the_vision_tower_sees_the_same_by_our_way(demo, shown):
    tower = demo.model.model.visual
    for question in shown[:3]:
        with torch.inference_mode():
            own = tower(question.pixels, grid_thw=question.grid).pooler_output
            ours = encode_image(tower, question.pixels, question.patch_positions, question.grid)
        assert torch.allclose(ours, own, atol=1e-3)
    assert "forward" not in vars(tower.patch_embed)  # the convolution is back


def test_a_photo_whose_numbers_overflow_spoils_no_other(demo, shown):
    alone = decode(demo, shown[:3], Eager())
    poisoned = replace(shown[1], pixels=torch.full_like(shown[1].pixels, torch.nan))
    decoder = Decoder(demo.model, demo.start, Eager())
    first, second, third = decoder.decode([shown[0], poisoned, shown[2]], "own")
    assert [first.overflowed, second.overflowed, third.overflowed] == [False, True, False]
    assert ids([first, third]) == ids([alone[0], alone[2]])
    again = decoder.decode(shown[:3], "own")  # in the slots where the NaN stood
    assert ids(again) == ids(alone)


@pytest.mark.parametrize(("spread", "seed"), [(1, 0), (4, 0), (10, 3), (20, 1)])
def test_untrained_weights_never_say_what_cannot_be_read(spread, seed):
    detector = untrained(spread, seed)
    for detection in detector.stream(noise(16, seed=seed), batch_size=16):
        answer = detection.unwrap()
        boxes = answer.detections
        assert answer.malformed == 0
        spelled = answer.text.count("<|box_start|>")
        assert (spelled > 0) <= len(boxes) <= spelled <= 5
        assert len(from_text(answer.text, (1, 1)).spans) == spelled
        assert ((boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]) > 0).all()


def test_inputs_need_no_model(demo, photos):
    """In a process where the model class cannot even be built, the inputs are the same."""
    code = """
import sys
from PIL import Image
import torch
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.family import QWEN2_VL
from nutrition_vl.models.load import load_processor
def refuse(*_, **__):
    raise AssertionError("a model was built")
QWEN2_VL.model.__init__ = refuse
QWEN2_VL.model.from_pretrained = refuse
inputs = ModelInputs.from_photo(Image.open(sys.argv[1]), load_processor(DEMO / "adapter"))
torch.save({name: value for name, value in vars(inputs).items() if name != "photo"}, sys.argv[2])
"""
    with TemporaryDirectory() as folder:
        photo, saved = Path(folder) / "photo.png", Path(folder) / "inputs.pt"
        photos[0].save(photo)
        subprocess.run([sys.executable, "-c", code, photo, saved], check=True)
        theirs = torch.load(saved)
    ours = ModelInputs.from_photo(photos[0], load_processor(DEMO / "adapter"))
    for name in ("ids", "types", "positions", "pixels", "patch_positions", "grid"):
        assert getattr(ours, name).equal(theirs[name])


def test_positions_are_those_of_the_model(demo, shown):
    for one in shown:
        positions, offset = demo.model.model.get_rope_index(
            one.ids[None], one.types[None], one.grid
        )
        assert one.positions.equal(positions[:, 0])
        assert one.rope_offset == offset.item()
