"""Photo in, boxes out, by the real demo in 4 bit: not what it answers, but how it comes about."""

import dataclasses
import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import supervision as sv
import torch
from PIL import Image
from transformers import GenerationConfig

from nutrition_vl import prompts
from nutrition_vl.answer import SAME_TABLE, Answer
from nutrition_vl.boxes import LABELS, from_text, make_detections
from nutrition_vl.confidence import Calibration
from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.decoded import Decoded, DecodedBox, Token, refine
from nutrition_vl.decoding.generate import MAX_NEW_TOKENS, greedy
from nutrition_vl.decoding.grammar import Spelling
from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import CARD, DEMO, read_card, write_card
from nutrition_vl.models.load import PixelBudget, budget_of, load_processor
from nutrition_vl.models.quantization import linear4bit_layers

pytestmark = pytest.mark.model

# flash, memory efficient, cuDNN, math
KERNELS = (
    torch.backends.cuda.flash_sdp_enabled,
    torch.backends.cuda.mem_efficient_sdp_enabled,
    torch.backends.cuda.cudnn_sdp_enabled,
    torch.backends.cuda.math_sdp_enabled,
)


@pytest.fixture(autouse=True)
def demo_again(request):
    """Every test finds the shared detector with the demo's adapter in use."""
    yield
    if "demo" in request.fixturenames:
        request.getfixturevalue("demo").use_adapter("demo")


def said(answers):
    return [answer.text for answer in answers]


def test_the_demo_is_in_4_bit_with_its_adapter(demo):
    assert set(linear4bit_layers(demo.model)) == {"language_model"}
    assert "demo" in demo.adapters
    assert demo.model.device.type == "cpu"


def test_a_batch_answers_like_single_photos(demo, photos):
    together = demo.detect(photos)
    alone = [demo.detect([photo])[0] for photo in photos]
    assert said(together) == said(alone)
    for one, other in zip(together, alone, strict=True):
        assert np.allclose(one.detections.xyxy, other.detections.xyxy, atol=0.1)
        assert np.allclose(one.detections.confidence, other.detections.confidence, atol=1e-4)


def test_boxes_are_what_the_text_says_in_pixels_of_the_photo(demo, photos):
    free = demo.detect(photos, free=True)
    for answer, photo in zip(free, photos, strict=True):
        parsed = from_text(answer.text, photo.size)
        overlap = sv.box_iou_batch(parsed.detections.xyxy, answer.detections.xyxy)
        assert (overlap.max(0, initial=0) == 1).all()
        assert (overlap.max(1, initial=0) > SAME_TABLE).all()  # of two boxes on a table one is left
        assert answer.malformed == parsed.malformed
        assert "<|im_end|>" not in answer.text
        assert answer.seconds > 0
    constrained = demo.detect(photos)
    assert [answer.overruled > 0 for answer in constrained].count(False) > 1
    for answer, other, photo in zip(constrained, free, photos, strict=True):
        if answer.overruled:  # one photo's, which the grammar mends
            continue
        assert answer.text == other.text
        moved = np.abs(answer.detections.xyxy - other.detections.xyxy) / max(photo.size)
        assert (moved < 0.1).all()  # the first digit of three stays


def digits(*pairs):
    return [Token(0, score, 10, mean=mean) for score, mean in pairs]


def test_a_coordinate_is_the_mean_of_its_last_digits():
    # 120: of the tens 2.5 on average, 2 with 0.6; behind that 2 a 4 is expected, behind others 4.5.
    tens = digits((0, 1), (math.log(0.6), 2.5), (0, 4))
    assert refine(120, tens) == pytest.approx(100 + 10 * 2.5 + 0.6 * 4 + 0.4 * 4.5)
    # 7 and 1000 are themselves; 34: the first digit as spelled, 6 behind it.
    assert refine(7, digits((0, 3))) == 7
    assert refine(1000, digits(*[(0, 5)] * 4)) == 1000
    assert refine(34, digits((0, 3), (math.log(0.5), 6))) == 36


def answer_of(demo, boxes, tokens=()):
    decoded = Decoded(list(tokens), boxes)
    return Answer.from_decoded(decoded, (1000, 1000), demo.processor.tokenizer, Calibration(), 0.1)


def test_an_answer_has_the_refined_boxes_in_pixels(demo):
    box = DecodedBox(LABELS[1], (120, 7, 1000, 34), (129.2, 7, 1000, 36), 0.0)
    decoded = Decoded([], [box])
    tokenizer = demo.processor.tokenizer
    answer = Answer.from_decoded(decoded, (500, 2000), tokenizer, Calibration(), 0.1)
    assert answer.detections.xyxy[0] == pytest.approx([64.6, 14, 500, 72])
    assert answer.detections.class_id.tolist() == [1]


def test_of_two_boxes_of_one_table_the_one_with_more_confidence_stays(demo):
    corners = [(100, 100, 300, 300), (100, 150, 300, 300), (100, 300, 300, 500)]  # IoU 0.75, 0
    boxes = [
        DecodedBox(LABELS[0], box, box, math.log(score))
        for box, score in zip(corners, (0.6, 0.9, 0.7), strict=True)
    ]
    answer = answer_of(demo, boxes)
    assert [tuple(box) for box in answer.detections.xyxy.tolist()] == corners[1:]
    assert answer.detections.confidence == pytest.approx([0.9, 0.7])


def test_no_photos_no_answers(demo):
    assert demo.detect([]) == []


def test_a_strip_is_refused_and_a_line_is_not(demo):
    with pytest.raises(ValueError, match="1 x 4000 pixels: crop it"):
        demo.detect([Image.new("RGB", (1, 4000))])
    (answer,) = demo.detect([Image.new("RGB", (40, 1))])
    assert isinstance(answer, Answer)


def test_only_the_math_kernel_is_on_inside_and_all_is_as_before_outside(demo, photo):
    before, inside = [kernel() for kernel in KERNELS], []
    hook = demo.model.lm_head.register_forward_pre_hook(
        lambda *_: inside.append([kernel() for kernel in KERNELS])
    )
    demo.detect([photo])
    decoded = len(inside)
    demo.detect([photo], free=True)
    hook.remove()
    assert 0 < decoded < len(inside)
    assert all(state == [False, False, False, True] for state in inside)
    assert [kernel() for kernel in KERNELS] == before


def test_decoding_is_greedy_whatever_the_checkpoint_asks_for(demo):
    config = greedy(demo.processor.tokenizer)
    assert config.do_sample is False
    assert config.max_new_tokens == MAX_NEW_TOKENS == 128
    assert config.repetition_penalty in (None, 1.0)
    tokenizer = demo.processor.tokenizer
    assert config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_adapters_are_switched_on_one_base(demo, other, table):
    base = demo.model
    first = said(demo.detect([table]))
    demo.use_adapter(other)
    second = said(demo.detect([table]))
    demo.use_adapter(None)
    bare = said(demo.detect([table]))
    assert demo.model is base
    assert {"demo", other} <= set(demo.adapters)
    assert said(demo.detect([table], adapter="demo")) == first
    assert said(demo.detect([table], adapter=other)) == second != first
    assert said(demo.detect([table], adapter="none")) == bare
    demo.use_adapter("demo")  # as the other tests expect it


def test_a_switched_adapter_answers_like_one_loaded_alone(demo, other, table):
    alone = Detector.load(other, device="cpu")
    assert alone.adapters == [other]
    assert said(alone.detect([table])) == said(demo.detect([table], adapter=other))
    bare = Detector.load(other, adapter="none", device="cpu")
    assert bare.adapters == []
    assert said(bare.detect([table])) == said(demo.detect([table], adapter="none"))


def test_threads_get_the_answers_of_the_adapter_they_asked(demo, other, table):
    names = ["demo", other, "none"] * 2
    wanted = [said(demo.detect([table], adapter=name)) for name in names[:3]] * 2
    with ThreadPoolExecutor(len(names)) as pool:
        got = list(pool.map(lambda name: said(demo.detect([table], adapter=name)), names))
    assert got == wanted


def test_a_refused_adapter_changes_nothing(demo, table, other, tmp_path):
    before = said(demo.detect([table]))
    spoilt = shutil.copytree(other, tmp_path / "spoilt")
    (spoilt / CARD).write_text("{")
    alien = shutil.copytree(other, tmp_path / "alien")
    write_card(alien, dataclasses.replace(read_card(alien), base_model="some/base"))
    for name, message in [
        (spoilt, "line 1: not JSON"),
        (alien, "alien is an adapter of some/base, but the base loaded is"),
        (DEMO, "is a base without an adapter"),
        ("nobody", "there is no checkpoint nobody"),
    ]:
        with pytest.raises((FileNotFoundError, ValueError), match=message):
            demo.use_adapter(name)
    assert said(demo.detect([table])) == before


def test_an_adapter_comes_with_its_own_pixel_budget(other, tmp_path, photo):
    folder = shutil.copytree(other, tmp_path / "small")
    load_processor(folder, PixelBudget(4, 9)).save_pretrained(folder)
    bare = Detector.load(folder, adapter="none", device="cpu")
    assert budget_of(bare.processor) == PixelBudget(4, 9)  # compared on equal terms


def test_a_base_alone_is_asked_within_the_default_budget(tmp_path):
    shutil.copytree(DEMO, tmp_path / "base", ignore=shutil.ignore_patterns("adapter"))
    load_processor(DEMO, PixelBudget(4, 16384)).save_pretrained(tmp_path / "base")
    detector = Detector.load(tmp_path / "base", device="cpu")
    assert detector.adapters == []
    assert budget_of(detector.processor) == PixelBudget(4, 600)


def prediction(start, *likelihoods):
    """A row of `summarize` in which these tokens have these likelihoods."""
    row = np.full(len(start.spelling.alphabet) + 2, -50.0)
    for token, likelihood in likelihoods:
        row[start.spelling.alphabet.index(token)] = math.log(likelihood)
    row[-2:] = 0, likelihoods[0][0]
    return row


def test_the_confidence_of_a_box_is_the_probability_of_its_first_token(demo):
    spelling, decoded, state = demo.start.spelling, Decoded(), demo.start
    words = spelling.spell((100, 200, 500, 600)), spelling.spell((300, 700, 900, 990), LABELS[2])
    # Half sure of the first box, a quarter of the second, and certain of how the first goes on.
    for word, likelihood in zip(words, (0.5, 0.25), strict=True):
        rest = (spelling.end, 1 - likelihood)
        state = decoded.append(state, prediction(demo.start, (word[0], likelihood), rest), word[0])
        for token in word[1:]:
            state = decoded.append(state, prediction(demo.start, (token, 1.0)))
    decoded.append(state, prediction(demo.start, (spelling.end, 1.0)))
    assert [box.corners for box in decoded.boxes] == [(100, 200, 500, 600), (300, 700, 900, 990)]
    assert [box.label for box in decoded.boxes] == [LABELS[0], LABELS[2]]
    tokenizer = demo.processor.tokenizer
    answer = Answer.from_decoded(decoded, (100, 100), tokenizer, Calibration(), 0.1)
    assert answer.text == tokenizer.decode([*words[0], *words[1]])
    assert answer.overruled == 0
    assert np.allclose(answer.detections.xyxy, [[10, 20, 50, 60], [30, 70, 90, 99]], atol=0.01)
    assert np.allclose(answer.detections.confidence, [0.5, 0.25], atol=1e-5)
    assert len(answer.above(0.3).detections) == 1
    assert answer.above(0.3).text == answer.text


def test_tokens_that_the_grammar_changes_are_counted(demo):
    decoded, spelling = Decoded(), demo.start.spelling
    row = prediction(demo.start, (spelling.digits[3], 0.9), (spelling.end, 0.1))
    decoded.append(demo.start, row)  # a digit cannot begin an answer
    assert [token.id for token in decoded.tokens] == [spelling.end]
    assert answer_of(demo, [], decoded.tokens).overruled == 1


def test_an_answer_is_a_json_record():
    found = make_detections([[1.26, 2, 30, 40]], [LABELS[1]], [0.123456])
    record = Answer(found, "words", 0, 0.98765, 3).record((100, 50))
    assert json.loads(json.dumps(record)) == {
        "width": 100,
        "height": 50,
        "boxes": [
            {"xyxy": [1.3, 2.0, 30.0, 40.0], "label": "nutrition-table-text", "confidence": 0.1235}
        ],
        "text": "words",
        "seconds": 0.988,
        "overruled": 3,
    }


@pytest.mark.slow
def test_numbers_that_overflow_are_an_error(demo, photos):
    """A layer that spoils the first photo alone: the others of its batch get their answers."""
    layer = demo.model.model.language_model.layers[3].mlp.down_proj

    def overflow(module, inputs, output):
        if len(output) in (1, len(photos)):
            output[0] = torch.nan

    alone = said(demo.detect(photos[1:]))
    hook = layer.register_forward_hook(overflow)
    first, *others = demo.stream(photos, batch_size=len(photos))
    hook.remove()
    assert isinstance(first.error, ValueError) and first.photo is photos[0]
    assert "overflowed in torch.float32: use a newer GPU or the CPU" in str(first.error)
    assert [other.unwrap().text for other in others] == alone
    with pytest.raises(ValueError, match="overflowed"):
        hook = layer.register_forward_hook(overflow)
        try:
            demo.detect(photos[:1])
        finally:
            hook.remove()
    assert said(demo.detect(photos[1:])) == alone


def test_a_tokenizer_that_cannot_spell_is_asked_freely(photo, monkeypatch):
    def refuse(tokenizer):
        raise ValueError("spells otherwise: use --free")

    detector = Detector.load("demo", device="cpu")
    monkeypatch.setattr(Spelling, "of", refuse)
    with pytest.raises(ValueError, match="--free"):
        detector.detect([photo])
    assert len(detector.detect([photo], free=True)) == 1


@pytest.mark.parametrize("free", [False, True])
def test_a_batch_that_does_not_fit_is_halved(demo, photos, monkeypatch, free):
    wanted, sizes = said(demo.detect(photos, free=free)), []
    whole = demo.model.model.language_model.forward

    def short(*args, inputs_embeds, **options):
        if inputs_embeds.shape[1] > 60:  # the prompts
            sizes.append(len(inputs_embeds))
            if len(inputs_embeds) > 1:
                raise torch.OutOfMemoryError
        return whole(*args, inputs_embeds=inputs_embeds, **options)

    monkeypatch.setattr(demo.model.model.language_model, "forward", short)
    assert said(demo.detect(photos, free=free)) == wanted
    assert sizes == [3, 1, 2, 1, 1]


def test_one_photo_that_does_not_fit_is_an_error(demo, photo, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(demo.model.model.language_model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        demo.detect([photo])


def test_a_photo_that_fails_fails_alone(demo, photos, tmp_path):
    photos[0].save(tmp_path / "pack.png")
    (tmp_path / "text.jpg").write_text("not a photo")
    sources = [tmp_path / "pack.png", tmp_path / "text.jpg", Image.new("RGB", (1, 4000)), photos[1]]
    good, text, strip, other = demo.stream(sources, batch_size=3)
    assert said([good.unwrap(), other.unwrap()]) == said(demo.detect(photos[:2]))
    assert good.photo.size == photos[0].size
    assert isinstance(text.error, ValueError) and "is not a photo" in str(text.error)
    assert text.photo is None and text.answer is None
    assert isinstance(strip.error, ValueError) and "crop it" in str(strip.error)
    with pytest.raises(ValueError, match="crop it"):
        strip.unwrap()


def test_a_large_file_has_the_boxes_of_the_photo_in_its_own_size(demo, photos, tmp_path):
    large = photos[0].resize((4 * photos[0].width, 4 * photos[0].height), Image.Resampling.BICUBIC)
    large.save(tmp_path / "pack.jpg", quality=90)
    (one,) = demo.stream([tmp_path / "pack.jpg"])
    assert one.photo.size == large.size == one.picture.size
    (whole,) = demo.detect([one.picture])
    step = np.array([*large.size, *large.size]) / 1000
    moved = (one.unwrap().detections.xyxy - whole.detections.xyxy) / step
    assert len(moved) and np.abs(moved).max() <= 1


def test_a_photo_may_be_a_function_that_opens_it(demo, photos):
    (opened,) = demo.stream([lambda: photos[0]])
    assert opened.photo is photos[0]
    assert opened.unwrap().text == demo.detect(photos[:1])[0].text


def test_photos_are_taken_as_they_are_needed(demo, photos):
    taken = []
    answers = demo.stream((taken.append(photo) or photo for photo in photos), batch_size=1)
    next(answers)
    assert len(taken) == 1


def test_boxes_below_the_threshold_are_left_out(demo):
    packs = [open_photo(file) for file in sorted((DEMO / "examples").glob("*.jpg"))]
    every = demo.detect(packs)
    sure = sorted(p for answer in every for p in answer.detections.confidence.tolist())
    some = demo.detect(packs, threshold=sure[1])
    assert sum(len(answer.detections) for answer in some) == len(sure) - 1
    assert said(some) == said(every)


def test_the_question_is_the_one_the_card_was_signed_for():
    assert read_card(DEMO / "adapter").prompt == prompts.fingerprint()


def test_plain_transformers_detects_the_same_boxes():
    packs = [open_photo(file) for file in sorted((DEMO / "examples").glob("*.jpg"))]
    fast, plain = (
        Detector.load("demo", device="cpu", decoder=name).detect(packs)
        for name in ("fast", "generate")
    )
    assert sum(len(answer.detections) for answer in fast) > 4
    for one, other in zip(fast, plain, strict=True):
        assert (one.text, one.overruled) == (other.text, other.overruled)
        assert np.allclose(one.detections.xyxy, other.detections.xyxy, atol=0.1)
        assert np.allclose(one.detections.confidence, other.detections.confidence, atol=1e-4)
    with pytest.raises(ValueError, match="unknown decoder 'slow': use one of fast, generate"):
        Detector.load("demo", decoder="slow")
    with pytest.raises(ValueError, match="unknown attention 'eager': use one of math, sdpa"):
        Detector.load("demo", attention="eager")
    with pytest.raises(ValueError, match="generate has math attention alone"):
        Detector.load("demo", decoder="generate", attention="sdpa")


def test_a_checkpoints_own_generation_settings_change_nothing(demo, table):
    free = said(demo.detect([table], free=True))
    own = demo.model.generation_config
    demo.model.generation_config = GenerationConfig(repetition_penalty=5.0, do_sample=True)
    try:
        assert said(demo.detect([table], free=True)) == free
        assert demo.model.generation_config.repetition_penalty == 5.0
    finally:
        demo.model.generation_config = own


@pytest.mark.parametrize("quantization", ["nf4", "nf4-single", "none"])
def test_any_quantization_can_be_detected_with(quantization, table):
    detector = Detector.load("demo", device="cpu", quantization=quantization)
    quantized = linear4bit_layers(detector.model)["language_model"] > 0
    assert quantized == (quantization != "none")
    (answer,) = detector.detect([table])
    assert len(answer.detections) == 1


def test_the_quantization_is_by_default_the_one_on_the_card(other, tmp_path, monkeypatch):
    folder = shutil.copytree(other, tmp_path / "bf16")
    write_card(folder, dataclasses.replace(read_card(folder), quantization="none"))
    assert not linear4bit_layers(Detector.load(folder, device="cpu").model)
    assert linear4bit_layers(Detector.load(folder, device="cpu", quantization="nf4").model)
    with pytest.raises(ValueError, match="unknown quantization 'int4': use one of nf4, nf4-single"):
        Detector.load(folder, quantization="int4")


def test_a_detector_around_a_model_uses_the_adapter_that_is_in_it(demo, table):
    inside = Detector.around(demo.model, demo.processor)
    demo.detect([table])  # after which its adapter stays in use
    assert said(inside.detect([table])) == said(demo.detect([table]))
    with pytest.raises(ValueError, match="is an adapter of"):
        inside.use_adapter("demo")
