"""Photo in, boxes out, by the real demo in 4 bit: not what it answers, but how it comes about."""

import dataclasses
import json
import math
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from nutrition_vl import prompts
from nutrition_vl.answer import Answer, edges, read
from nutrition_vl.boxes import LABELS, from_text, make_detections, to_text
from nutrition_vl.confidence import Calibration
from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.draft import Token
from nutrition_vl.decoding.generate import MAX_NEW_TOKENS
from nutrition_vl.decoding.grammar import Spelling
from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import CARD, DEMO, read_card, write_card
from nutrition_vl.models.load import PixelBudget, budget_of, load_processor
from nutrition_vl.models.quantization import linear4bit_layers

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
    assert demo.runtime.device.type == "cpu"


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
        assert np.array_equal(answer.detections.xyxy, parsed.detections.xyxy)
        assert answer.malformed == parsed.malformed
        assert "<|im_end|>" not in answer.text
        assert answer.seconds > 0
    assert [answer.malformed > 0 for answer in free].count(False) > 1
    for answer, other, photo in zip(demo.detect(photos), free, photos, strict=True):
        if other.malformed:  # the smallest photo's, which the grammar mends
            continue
        assert answer.text == other.text
        moved = np.abs(answer.detections.xyxy - other.detections.xyxy) / max(photo.size)
        assert (moved < 0.1).all()  # the first digit of three stays


def test_edges_are_the_means_of_their_last_digits(demo):
    tokenizer = demo.processor.tokenizer
    ids = tokenizer(to_text(make_detections([[120, 7, 1000, 34]]), (1000, 1000))).input_ids
    said, digits = (
        [],
        iter(
            [
                (0, 1),
                (math.log(0.6), 2.5),
                (0, 4),
                (0, 3),
                *[(0, 5)] * 4,
                (0, 3),
                (math.log(0.5), 6),
            ]
        ),
    )
    for word in ids:
        if tokenizer.decode([word]).isdigit():
            score, mean = next(digits)
            said.append(Token(word, score, 10, mean=mean))
        else:
            said.append(Token(word, 0.0, 1))
    # 120: of the tens 2.5 on average, 2 with 0.6; behind that 2 a 4 is expected, behind others 4.5.
    # 7 and 1000 are themselves; 34: the first digit as said, 6 behind it.
    wanted = [100 + 10 * 2.5 + 0.6 * 4 + 0.4 * 4.5, 7, 1000, 36]
    assert edges(said, tokenizer) == tokenizer.decode(ids).replace(
        "(120,7),(1000,34)", "({:.2f},{}),({},{:.2f})".format(*wanted)
    )
    answer = read(said, (1000, 1000), tokenizer, Calibration(), 0.1)
    assert answer.detections.xyxy[0] == pytest.approx(wanted, abs=0.01)


def test_of_two_boxes_of_one_table_the_surer_stays(demo):
    tokenizer = demo.processor.tokenizer
    corners = [[100, 100, 300, 300], [100, 150, 300, 300], [100, 300, 300, 500]]  # IoU 0.75, 0
    said = []
    for box, sure in zip(corners, (0.6, 0.9, 0.7), strict=True):
        ids = tokenizer(to_text(make_detections([box]), (1000, 1000))).input_ids
        said += [Token(word, math.log(sure) if at == 0 else 0.0, 9) for at, word in enumerate(ids)]
    answer = read(said, (1000, 1000), tokenizer, Calibration(), 0.1)
    assert answer.detections.xyxy.tolist() == corners[1:]
    assert answer.detections.confidence == pytest.approx([0.9, 0.7])
    assert answer.text.count("<|box_start|>") == 3


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
    config = demo.model.generation_config
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


def test_a_box_is_as_sure_as_its_first_token(demo):
    tokenizer = demo.processor.tokenizer
    boxes = make_detections([[10, 20, 50, 60], [30, 70, 90, 99]], [LABELS[0], LABELS[2]])
    text = to_text(boxes, (100, 100))
    ids = tokenizer(text).input_ids
    end = next(n for n, word in enumerate(ids) if tokenizer.decode([word]) == "<|box_end|>") + 1
    # Half sure of the first box, a quarter of the second, and certain of how the first goes on.
    said = [
        Token(word, math.log(0.5), 2) if n == 0 else Token(word, 0.0, 1)
        for n, word in enumerate(ids[:end])
    ]
    said += [Token(word, math.log(0.25), 2, overruled=True) for word in ids[end:]]
    said += [Token(tokenizer.eos_token_id, math.log(0.1), 2)]
    answer = read(said, (100, 100), tokenizer, Calibration(), 0.1)
    assert answer.text == text
    assert answer.overruled == len(ids) - end
    assert np.allclose(answer.detections.xyxy, boxes.xyxy)
    assert np.allclose(answer.detections.confidence, [0.5, 0.25])
    assert len(answer.above(0.3).detections) == 1
    assert answer.above(0.3).text == text


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


def test_numbers_that_overflow_are_an_error_that_names_the_layer(demo, photos):
    """A layer that spoils the first photo alone: the others of its batch get their answers."""
    layer = demo.model.model.language_model.layers[3].mlp.down_proj

    def overflow(module, inputs, output):
        if len(output) in (1, len(photos)):  # by itself again when the layer is looked for
            output[0] = torch.nan

    alone = said(demo.detect(photos[1:]))
    hook = layer.register_forward_hook(overflow)
    first, *others = demo.stream(photos, batch_size=len(photos))
    hook.remove()
    assert isinstance(first, ValueError)
    blamed = r"overflowed in torch\.float32, first in Linear4bit .*layers\.3\.mlp\.down_proj: use"
    assert re.search(blamed, str(first))
    assert [answer.text for _, answer in others] == alone
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
    assert [good[1].text, other[1].text] == said(demo.detect(photos[:2]))
    assert good[0].size == photos[0].size
    assert isinstance(text, ValueError) and "is not a photo" in str(text)
    assert isinstance(strip, ValueError) and "crop it" in str(strip)


def test_a_photo_may_be_a_function_that_opens_it(demo, photos):
    (opened,) = demo.stream([lambda: photos[0]])
    assert opened[0] is photos[0]
    assert opened[1].text == demo.detect(photos[:1])[0].text


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
