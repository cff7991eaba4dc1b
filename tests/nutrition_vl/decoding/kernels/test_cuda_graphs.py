"""When calls are captured and how long that is kept; with a GPU, that it changes no answer."""

from dataclasses import replace

import pytest
import torch

from nutrition_vl.data.photos import open_photo
from nutrition_vl.decoding.decoder import Decoder
from nutrition_vl.decoding.generate import generate
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.decoding.kernels import cuda_graphs as graphs
from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.runtime import detect_runtime


class Tape:
    """Stands for a captured graph where there is no GPU: remembers the function."""

    made = ()

    def __init__(self, function, inputs, pool):
        self.function = function
        Tape.made = (*Tape.made, tuple(inputs[0].shape))

    def replay(self, inputs):
        return self.function(*inputs)


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(graphs, "Graph", Tape)
    monkeypatch.setattr(Tape, "made", ())
    return graphs.Graphs(keep=2)


def asked(detector):
    """The questions about the embedded packs, after which the demo's adapter stays in use."""
    packs = [open_photo(file) for file in sorted((DEMO / "examples").glob("*.jpg"))]
    detector.detect(packs[:1])
    return [
        ModelInputs.from_photo(photo, detector.processor, detector.model.dtype) for photo in packs
    ]


def double(tensor):
    return 2 * tensor


def test_the_second_call_of_a_shape_is_captured(runner):
    for count in (1, 2, 3):
        assert runner.run("double", double, torch.ones(3)).tolist() == [2, 2, 2]
        assert Tape.made == ((3,),) * (count > 1)
    runner.run("double", double, torch.ones(4))
    runner.run("other", double, torch.ones(3))
    assert Tape.made == ((3,),)  # another shape and another key are new


def test_the_graphs_used_last_are_kept(runner):
    for size in (1, 1, 2, 2, 1, 3, 3):  # 2 was used longest ago when 3 comes
        runner.run("double", double, torch.ones(size))
    for size in (1, 3, 2):
        runner.run("double", double, torch.ones(size))
    assert Tape.made == ((1,), (2,), (3,), (2,))


def test_what_is_forgotten_is_warmed_up_anew(runner):
    for _ in range(2):
        runner.run("double", double, torch.ones(1))
    runner.clear()
    runner.run("double", double, torch.ones(1))
    assert Tape.made == ((1,),)


def test_few_shapes_come_of_many():
    rounded = graphs.Rounded()
    assert [rounded.pad_batch(n) for n in (1, 2, 3, 9, 16)] == [1, 2, 4, 16, 16]
    assert [rounded.pad_tokens(n) for n in (1, 3, 5, 33, 65, 700)] == [1, 4, 8, 40, 128, 704]
    assert [rounded.pad_cache(n) for n in (1, 256, 257)] == [256, 256, 512]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_captured_answers_are_those_of_single_launches():
    detector = Detector.load("demo", device="cuda")
    some = asked(detector)
    eager = Decoder(detector.model, detector.start, graphs.Rounded())
    for batch in ([[one] for one in some], [some]):
        for part in batch:
            plain = eager.decode(part, "demo")
            for _ in range(3):  # warmed up, captured, replayed
                captured = detector.decoder.decode(part, "demo")
                assert [[t.id for t in a.tokens] for a in captured] == [
                    [t.id for t in a.tokens] for a in plain
                ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_in_float32_a_gpu_says_the_words_of_transformers(monkeypatch):
    """In bfloat16 even its own answers part from those it gives in a batch."""
    exact = replace(detect_runtime("cuda"), dtype=torch.float32)
    monkeypatch.setattr("nutrition_vl.detector.detect_runtime", lambda device: exact)
    detector = Detector.load("demo", device="cuda")
    some = asked(detector)
    tokenizer, start = detector.processor.tokenizer, detector.start
    plain = [said for one in some for said in generate(detector.model, tokenizer, [one], start)]
    for batch in ([[one] for one in some], [some]):
        for _ in range(3):  # warmed up, captured, replayed
            said = [a for part in batch for a in detector.decoder.decode(part, "demo")]
            assert [[t.id for t in a.tokens] for a in said] == [
                [t.id for t in a.tokens] for a in plain
            ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_an_int8_base_answers_more_than_once():
    detector = Detector.load("demo", device="cuda", quantization="int8")
    photos = [open_photo(file) for file in sorted((DEMO / "examples").glob("*.jpg"))[:2]]
    first, *others = [[a.text for a in detector.detect(photos)] for _ in range(4)]
    assert others == [first] * 3
