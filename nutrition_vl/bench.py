"""Measures how fast photos are answered, by transformers' own `generate` and by this package.

examples:
  python -m nutrition_vl.bench
  python -m nutrition_vl.bench --checkpoint random:7b --device cuda

Both sides get the same photos and say the same words, one box of three-digit numbers, whatever the
model would like to say, so that a model of random weights can be timed: every token is looked up in
the logits, and then replaced. Latency is from an open photo to its boxes, photos a second are from
files to boxes. The same 4-bit base, unmerged adapter and math attention on both sides. The last
line on stdout is one JSON object; --out keeps it, and a page of Markdown beside it.
"""

import argparse
import json
import logging
import platform
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from nutrition_vl.architectures import is_random, random_adapter, random_checkpoint, skeleton
from nutrition_vl.checkpoints import DEMO
from nutrition_vl.detector import Detector
from nutrition_vl.measure import Bench
from nutrition_vl.model import PixelBudget
from nutrition_vl.photos import open_photo
from nutrition_vl.runtime import Runtime, detect_runtime

PHONE = (1200, 1600)  # pixels the embedded photos are enlarged to, as a phone would send them
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    args = parser().parse_args(argv)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    try:
        with _detector(args.checkpoint, args.device) as detector, _photos(args.photos) as files:
            found = measure(args, detector, files)
    except (OSError, ValueError) as error:
        print(f"nutrition_vl.bench: {error}", file=sys.stderr)
        return 2
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        name = (
            f"bench-{Path(args.checkpoint).name.replace(':', '-')}-{detector.runtime.device.type}"
        )
        (args.out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        (args.out / f"{name}.md").write_text(page(found), encoding="utf-8")
    print(page(found))
    print(json.dumps(found))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    about, _, details = (__doc__ or "").partition("\n")
    options = argparse.ArgumentParser(
        prog="python -m nutrition_vl.bench",
        description=about,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("--checkpoint", default="demo", help="demo, a checkpoint, random:7b or random:2b")
    add("--photos", type=Path, metavar="DIR", help="JPEGs to answer (default the embedded ones)")
    add("--batch-sizes", type=int, nargs="+", default=[1, 4, 16], metavar="N", help="(1 4 16)")
    add("--repeats", type=int, default=20, metavar="N", help="photos that latency is taken from")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--out", type=Path, metavar="DIR", help="where JSON and Markdown go, docs/benchmarks say")
    return options


def measure(args: argparse.Namespace, detector: Detector, files: Sequence[Path]) -> dict[str, Any]:
    """Every number, with what it takes to read it."""
    bench = Bench(detector, files)
    question = bench.question(bench.photos[0])
    found = machine(detector.runtime) | {
        "checkpoint": args.checkpoint,
        "image_tokens": int(question.types.sum()),
        "prompt_tokens": len(question.ids),
        "answer_tokens": len(bench.script),
        "same_answers": bench.same(),
        "generate": bench.measure_plain(args.batch_sizes, args.repeats),
        "ours": bench.measure_ours(args.batch_sizes, args.repeats),
        "seconds": {str(size): bench.split(size) for size in args.batch_sizes},
    }
    ours, plain = found["ours"], found["generate"]
    alone = plain["photos_per_s"].get("1", 1 / plain["latency_p50_s"])
    rates = {size: round(rate / alone, 2) for size, rate in ours["photos_per_s"].items()}
    latency = round(plain["latency_p50_s"] / ours["latency_p50_s"], 2)
    return found | {"times_faster": {"latency_p50": latency, "photos_per_s": rates}}


def machine(runtime: Runtime) -> dict[str, Any]:
    """Hardware, versions and commit."""
    cuda = runtime.device.type == "cuda"
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return {
        "hardware": torch.cuda.get_device_name(runtime.device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit,
        "command": " ".join(["python -m nutrition_vl.bench", *sys.argv[1:]]),
    }


def page(found: dict[str, Any]) -> str:
    """The numbers as a page of Markdown."""
    plain, ours, faster = found["generate"], found["ours"], found["times_faster"]
    rows = [
        ("latency p50, s", plain["latency_p50_s"], ours["latency_p50_s"], faster["latency_p50"]),
        ("latency p95, s", plain["latency_p95_s"], ours["latency_p95_s"], ""),
    ]
    for size, rate in ours["photos_per_s"].items():
        ratio = f"{faster['photos_per_s'][size]} x generate's single photo"
        rows.append((f"photos/s, batches of {size}", plain["photos_per_s"][size], rate, ratio))
        told = plain["tokens_per_s"][size], ours["tokens_per_s"][size]
        rows.append((f"tokens/s, batches of {size}", *told, ""))
    rows.append(("memory at the peak, GiB", plain["peak_gib"], ours["peak_gib"], ""))
    stages = list(next(iter(found["seconds"].values())))
    split = [(size, *times.values()) for size, times in found["seconds"].items()]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [
        f"# {found['checkpoint']} on {found['hardware']}",
        f"`{found['command']}` at {found['commit']}, Python {found['python']}, {versions}."
        f" {found['image_tokens']} image tokens, prompts of {found['prompt_tokens']}, answers of"
        f" {found['answer_tokens']}; NF4, unmerged LoRA, math attention.",
        _table(("", "generate", "ours", "times faster"), rows),
        "Seconds of a batch of ours by stage, when no stage overlaps another:",
        _table(("batch", *stages), split),
        "Answers in the model's own words that are the same token by token: "
        + ", ".join(f"{way} {count}" for way, count in found["same_answers"].items())
        + ".",
    ]
    return "\n\n".join(lines) + "\n"


def _table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


@contextmanager
def _detector(checkpoint: str, device: str) -> Iterator[Detector]:
    """The detector of a checkpoint, or of random weights, made for the time being."""
    if not is_random(checkpoint):
        yield Detector.load(checkpoint, device=device)
        return
    runtime, shape = detect_runtime(device), skeleton(checkpoint, DEMO, "main").config
    with random_checkpoint(shape, runtime) as base:
        detector = Detector.load(random_adapter(base, shape, PixelBudget()), device=device)
        yield detector


@contextmanager
def _photos(folder: Path | None) -> Iterator[list[Path]]:
    """The JPEGs of a folder, or the embedded ones in a phone's size."""
    if folder:
        files = sorted(folder.glob("*.jp*g"))
        if not files:
            raise ValueError(f"there is no JPEG in {folder}")
        yield files
        return
    with TemporaryDirectory() as place:
        for file in sorted((DEMO / "examples").glob("*.jpg")):
            large = open_photo(file).resize(PHONE, Image.Resampling.BICUBIC)
            large.save(Path(place) / file.name, quality=90)
        yield sorted(Path(place).glob("*.jpg"))


if __name__ == "__main__":
    sys.exit(main())
