"""The benchmark on the embedded checkpoint: what it measures, what it writes."""

import json
import shlex
import shutil

import psutil
import pytest
import torch
from PIL import Image

from nutrition_vl.bench.__main__ import command_line, main, page, parser, save
from nutrition_vl.bench.busy import busy_processes
from nutrition_vl.bench.machine import _processor
from nutrition_vl.bench.subject import opened
from nutrition_vl.bench.timing import Bench
from nutrition_vl.decoding.generate import generate
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget, load_processor

FOUND = {
    "hardware": "a machine",
    "python": "3.12",
    "versions": {"torch": "2.11"},
    "commit": "abc",
    "command": "python -m nutrition_vl.bench",
    "checkpoint": "random:7b",
    "device": "cuda",
    "image_tokens": 588,
    "prompt_tokens": 665,
    "answer_tokens": 24,
    "model": "unquantised",
    "attention": "math",
    "absent": "",
    "latency_s": {
        "generate": {"p50": 1.0, "p95": 2.0, "peak_gib": 7.0},
        "generate, static cache, compiled": {"p50": 0.5, "p95": 0.6, "peak_gib": 17.0},
        "ours": {"p50": 0.25, "p95": 0.5, "peak_gib": 7.5},
    },
    "photos_per_s": {
        "1": {"generate": 0.5, "ours": 2.0},
        "16": {"generate": 3.0, "generate, static cache, compiled": 4.0, "ours": 8.0},
    },
    "seconds": {"1": {"preprocessing": 0.1, "vision": 0.2, "prefill": 0.3, "decode": 0.4}},
}


def test_the_page_compares_with_the_better_rival_in_batches_of_the_same_size():
    rows = page(FOUND).splitlines()
    assert "| latency p50, s | 1.0 | 0.5 | 0.25 | 2.00 |" in rows
    assert "| memory at the peak, GiB | 7.0 | 17.0 | 7.5 |  |" in rows
    assert "| photos/s in batches of 1 | 0.5 |  | 2.0 | 4.00 |" in rows
    assert "| photos/s in batches of 16 | 3.0 | 4.0 | 8.0 | 2.00 |" in rows
    assert "| tokens/s in batches of 16 | 72.0 | 96.0 | 192.0 |  |" in rows
    assert "| 1 | 0.1 | 0.2 | 0.3 | 0.4 |" in rows
    assert "not measured" in rows[-1]


def test_a_container_counts_the_cores_that_it_is_lent(tmp_path, monkeypatch):
    info, quota = tmp_path / "cpuinfo", tmp_path / "cpu.max"
    info.write_text("processor\t: 0\nmodel name\t: Xeon\n\n" * 16)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    for written, cores in (("max 100000", 16), ("150000 100000", 2)):
        quota.write_text(written)
        assert _processor(info, tmp_path) == f"{cores} x Xeon"
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    assert _processor(info, tmp_path) == "1 x Xeon"


def test_what_is_known_so_far_is_a_page_too(tmp_path):
    begun = FOUND | {"photos_per_s": {}, "seconds": {}}
    begun["latency_s"] = {"generate": FOUND["latency_s"]["generate"]}
    save(begun, tmp_path)
    assert json.loads((tmp_path / "bench-random-7b-cuda.json").read_text()) == begun
    assert "latency p50" in (tmp_path / "bench-random-7b-cuda.md").read_text()


def test_the_command_is_told_as_it_was_given():
    given = (
        "--checkpoint demo --device cpu --batch-sizes 2 8 --repeats 3 --merged --photos 'my photos'"
    )
    args = parser().parse_args(shlex.split(given))
    assert command_line(args, "cpu") == f"python -m nutrition_vl.bench {given}"


@pytest.mark.parametrize("option", ["--batch-sizes", "--repeats"])
def test_there_is_at_least_one_of_everything(option, capsys):
    with pytest.raises(SystemExit):
        main([option, "0"])
    assert "give a whole number from 1 up, not 0" in capsys.readouterr().err


def small_checkpoint(folder):
    """The embedded adapter with a small budget of tokens, to save time."""
    small = shutil.copytree(DEMO / "adapter", folder / "demo")
    load_processor(small, PixelBudget(max_tokens=80)).save_pretrained(small)
    return small


@pytest.mark.slow
def test_a_static_cache_gives_the_tokens_of_a_dynamic_one(tmp_path, photos):
    photos[0].save(tmp_path / "0.jpg")
    small = small_checkpoint(tmp_path)
    detector = opened(str(small), "cpu", merged=True)
    assert detector.model.lm_head.weight.dtype == torch.float32
    assert not any("lora" in name for name, _ in detector.model.named_parameters())
    bench = Bench(detector, [tmp_path / "0.jpg"])
    assert "compiles them on CUDA" in bench.absent
    inputs = bench.inputs(bench.photos)
    (free,) = generate(detector.model, bench.tokenizer, inputs)
    tokens = [token.id for token in free.tokens]
    (static,) = bench.static_cache(bench.photos).tolist()
    assert len(static) == len(bench.script)
    same = min(len(tokens) - 1, len(static))  # a free answer may end sooner
    assert static[:same] == tokens[:same] and len(set(static[:same])) > 6


def test_a_checkpoint_without_adapter_cannot_be_merged():
    with pytest.raises(ValueError, match="has no adapter to merge: leave out --merged"):
        opened(str(DEMO), "cpu", merged=True)


@pytest.mark.slow
def test_the_command_measures_both_ways(tmp_path, photos, capsys):
    for number, photo in enumerate(photos[:1]):
        photo.save(tmp_path / f"{number}.jpg")
    small = small_checkpoint(tmp_path)
    given = ["--device", "cpu", "--photos", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*given, "--checkpoint", str(small), "--batch-sizes", "2", "--repeats", "2"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((tmp_path / "out" / "bench-demo-cpu.json").read_text()) == found
    assert found["answer_tokens"] == 24
    for way in ("generate", "ours"):
        assert 0 < found["latency_s"][way]["p50"] <= found["latency_s"][way]["p95"]
        assert found["photos_per_s"]["2"][way] > 0
    assert "compiles them on CUDA" in found["absent"] and len(found["latency_s"]) == 2
    assert list(found["seconds"]["2"]) == ["preprocessing", "vision", "prefill", "decode"]
    ways = ("photos", "alone", "batch", "without_graphs", "generate_in_a_batch")
    assert found["same_answers"] == dict.fromkeys(ways, 1) | {"largest_gap": 0.0}


def test_a_folder_without_photos_is_one_sentence(tmp_path, capsys):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert main(["--device", "cpu", "--photos", str(tmp_path)]) == 2
    assert "there is no JPEG in" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_is_timed_next_to_busy_processes(tmp_path, photos, capsys):
    photos[2].save(tmp_path / "0.jpg")
    assert main(["--busy", "1", "--repeats", "2", "--photos", str(tmp_path)]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    rows = json.loads(last)["rows"]
    assert [row["busy"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in rows)
    assert len(table) == 2 + len(rows)


def test_busy_processes_end_with_the_measurement():
    own = psutil.Process()
    before = {child.pid for child in own.children()}
    with busy_processes(2):
        assert len({child.pid for child in own.children()} - before) == 2
    assert {child.pid for child in own.children()} == before
