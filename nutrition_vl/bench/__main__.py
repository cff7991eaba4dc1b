"""Measures how fast photos are answered, by transformers' own `generate` and by this package.

examples:
  python -m nutrition_vl.bench
  python -m nutrition_vl.bench --checkpoint random:7b --device cuda
  python -m nutrition_vl.bench --checkpoint random:7b --device cuda --merged
  python -m nutrition_vl.bench --busy 2      # the command next to two busy processes, on the CPU

All sides decode the same photos to the same forced tokens, those of one box, so that a model of
random weights can be timed. Latency is from an open photo to its boxes, photos per second are
from files to boxes. By default the base is in NF4 with an
unmerged adapter; --merged is the library's best case. `generate` with static cache and compiled
steps runs where transformers compiles. The last line on stdout is one JSON object; --out keeps it,
and a page of Markdown next to it.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image

from nutrition_vl.bench import GENERATE, OURS, STATIC, busy
from nutrition_vl.bench.machine import machine
from nutrition_vl.cli import command, described, folder, positive
from nutrition_vl.data.photos import open_photo
from nutrition_vl.files import markdown_table

if TYPE_CHECKING:
    from nutrition_vl.bench.timing import Bench

PHONE = (1200, 1600)  # pixels the embedded photos are enlarged to, as a phone would send them
UNMERGED, MERGED = "NF4, unmerged LoRA", "unquantised, merged LoRA"
WAYS = (GENERATE, STATIC, OURS)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl.bench", __doc__)
    add = options.add_argument
    add("--checkpoint", default="demo", help="demo, a checkpoint, random:7b or random:2b")
    add("--photos", type=Path, metavar="DIR", help="JPEGs to answer (default the embedded ones)")
    add("--batch-sizes", type=positive, nargs="+", default=[1, 4, 16], metavar="N", help="(1 4 16)")
    add("--repeats", type=positive, default=20, metavar="N", help="photos timed one by one (20)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto, a GPU if any)")
    add("--attention", default="math", help="of ours: math, or sdpa: fused kernels")
    add("--merged", action="store_true", help="merge the adapter into an unquantised base")
    add("--busy", type=positive, metavar="N", help="time the command next to N busy processes")
    add("--out", type=folder, metavar="DIR", help="where JSON and Markdown go, docs/benchmarks say")
    return options


def _run(args: argparse.Namespace) -> int:
    if args.busy:
        with photos(args.photos) as files:
            results = busy.measure(files, args.checkpoint, args.busy, args.repeats)
        print(busy.table(results))
        print(json.dumps(results))
        return 0
    # Here and not above, as below: they take seconds, which --help need not wait for.
    from nutrition_vl.bench.subject import opened
    from nutrition_vl.bench.timing import Bench

    with photos(args.photos) as files:
        detector = opened(args.checkpoint, args.device, args.merged, args.attention)
        for results in measure(args, Bench(detector, files)):
            if args.out:
                save(results, args.out)
    print(page(results))
    print(json.dumps(results))
    return 0


def measure(args: argparse.Namespace, bench: "Bench") -> Iterator[dict[str, Any]]:
    """The results so far, after each measurement."""
    (inputs,) = bench.inputs(bench.photos[:1])
    device = bench.detector.model.device.type
    results = machine(bench.detector.model.device) | {
        "command": command_line(args, device),
        "checkpoint": args.checkpoint,
        "device": device,
        "image_tokens": int(inputs.types.sum()),
        "prompt_tokens": len(inputs.ids),
        "answer_tokens": len(bench.script),
        "model": MERGED if args.merged else UNMERGED,
        "attention": args.attention,
        "absent": bench.absent,
        "latency_s": {},
        "photos_per_s": {},
        "seconds": {},
    }
    for way in bench.ways:
        results["latency_s"][way] = bench.latency(way, args.repeats)
        yield results
    for size in args.batch_sizes:
        results["photos_per_s"][str(size)] = {way: bench.rate(way, size) for way in bench.ways}
        results["seconds"][str(size)] = bench.split(size)
        yield results
    yield results | {"same_answers": bench.same()}


def command_line(args: argparse.Namespace, device: str) -> str:
    """The command that measures the same again."""
    words = ["--checkpoint", args.checkpoint, "--device", device, "--batch-sizes"]
    words += [*map(str, args.batch_sizes), "--repeats", str(args.repeats)]
    words += ["--attention", args.attention] if args.attention != "math" else []
    words += ["--merged"] if args.merged else []
    words += ["--photos", str(args.photos)] if args.photos else []
    return shlex.join(["python", "-m", "nutrition_vl.bench", *words])


def save(results: dict[str, Any], folder: Path) -> None:
    """The numbers as JSON and as a page, named after checkpoint and device."""
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(results["checkpoint"]).name.replace(":", "-")
    name += "-merged" if results["model"] == MERGED else ""
    name += "-sdpa" if results["attention"] == "sdpa" else ""
    file = folder / f"bench-{name}-{results['device']}"
    text = json.dumps(results, indent=2) + "\n"
    file.with_suffix(".json").write_text(text, encoding="utf-8")
    file.with_suffix(".md").write_text(page(results), encoding="utf-8")


def page(results: dict[str, Any]) -> str:
    """The numbers so far as a page of Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    split = [(size, *times.values()) for size, times in results["seconds"].items()]
    parts = [
        f"# {results['checkpoint']} on {results['hardware']}",
        f"`{results['command']}` at {results['commit']}, Python {results['python']}, {versions}."
        f" {results['image_tokens']} image tokens, prompts of {results['prompt_tokens']},"
        f" answers of {results['answer_tokens']}; {results['model']}. Attention: math in"
        f" `generate`, {results['attention']} in ours, the library's own in the static column.",
        _table(("", *WAYS, "times faster"), [*_latencies(results), *_rates(results)]),
        "Faster than the better of both `generate`. Photos per second include reading files, which"
        " ours does while the model works." + results["absent"],
        "Seconds of a batch of ours by stage, when no stage overlaps another:",
        _table(("batch", "preprocessing", "vision", "prefill", "decode"), split),
        _sameness(results),
    ]
    return "\n\n".join(parts) + "\n"


def _sameness(results: dict[str, Any]) -> str:
    """How many answers are those of plain greedy decoding."""
    same = results.get("same_answers")
    if not same:
        return "Answers equal to plain greedy decoding: not measured."
    return (
        f"Answers equal, token by token, to `generate` inside the grammar: of {same['photos']},"
        f" {same['alone']} alone, {same['batch']} in one batch, {same['without_graphs']} without"
        f" graphs; `generate`'s own in one batch, {same['generate_in_a_batch']}. Where they first"
        f" differ, the logits of both tokens lie at most {same['largest_gap']} apart."
    )


def _latencies(results: dict[str, Any]) -> Iterator[Sequence[Any]]:
    """Rows of the time and memory that one photo takes."""
    ways = [results["latency_s"].get(way, {}) for way in WAYS]
    for name, key in (("latency p50, s", "p50"), ("latency p95, s", "p95")):
        *rivals, ours = (way.get(key, "") for way in ways)
        best = min(filter(None, rivals), default=0)
        yield name, *rivals, ours, f"{best / ours:.2f}" if best and ours else ""
    yield "memory at the peak, GiB", *(way.get("peak_gib", "") for way in ways), ""


def _rates(results: dict[str, Any]) -> Iterator[Sequence[Any]]:
    """Rows of photos and tokens per second."""
    for size, rates in results["photos_per_s"].items():
        ways = [rates.get(way, "") for way in WAYS]
        best = max(rate for way, rate in rates.items() if way != OURS)
        yield f"photos/s in batches of {size}", *ways, f"{rates[OURS] / best:.2f}"
        tokens = [rate and round(rate * results["answer_tokens"], 1) for rate in ways]
        yield f"tokens/s in batches of {size}", *tokens, ""


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return markdown_table(head, ([*map(str, row)] for row in rows))


@contextmanager
def photos(folder: Path | None) -> Iterator[list[Path]]:
    """The JPEGs of a folder, or the embedded ones in a phone's size."""
    if folder:
        files = sorted(folder.glob("*.jp*g"))
        if not files:
            raise ValueError(f"there is no JPEG in {folder}")
        yield files
        return
    from nutrition_vl.models.checkpoints import DEMO

    with TemporaryDirectory() as place:
        for file in sorted((DEMO / "examples").glob("*.jpg")):
            large = open_photo(file).resize(PHONE, Image.Resampling.BICUBIC)
            large.save(Path(place) / file.name, quality=90)
        yield sorted(Path(place).glob("*.jpg"))


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
