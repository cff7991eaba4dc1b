"""Finds the nutrition tables on any number of photos, on one machine or a Ray cluster.

examples:
  python -m nutrition_vl.batch photos/ --out answers
  python -m nutrition_vl.batch 's3://packs/2026/*.jpg' --out s3://answers/2026 --address auto
  python -m nutrition_vl.batch packs.parquet --column image --out answers --crops tables
  python -m nutrition_vl.batch answers --to coco boxes.json

SOURCE is a folder, a glob, a list of paths or URLs (.txt), parquet with a --column of bytes, paths
or URLs, a COCO file, or a URL of these that fsspec opens. DIR gets parquet files with one row per
photo, manifest.json, and _SUCCESS at the end; the same command again goes on where it was stopped.
A photo that cannot be read, or that ends its worker twice, is a row with "error". On a cluster,
every machine needs this package, the checkpoint and the photos under the same names.

exit codes: 0 all photos were read, 1 some were not, 2 it could not start or not go on, as stderr
says
"""

import argparse
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nutrition_vl.cli import command, described, positive, share
from nutrition_vl.files import git_commit
from nutrition_vl.models.names import DEVICES

if TYPE_CHECKING:
    import pyarrow as pa

    from nutrition_vl.batch.results import Results

FORMATS = ("coco", "yolo", "csv", "jsonl")
SECONDS = 60  # of answers that a kill of the driver costs at most


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = described("nutrition_vl.batch", __doc__)
    add = options.add_argument
    add("source", metavar="SOURCE|DIR", help="photos to answer, or a DIR of answers to export")
    add("--out", metavar="DIR", help="folder or URL for the answers, and go on if it holds some")
    add("--to", nargs=2, metavar=("FORMAT", "FILE"), help=f"export as {', '.join(FORMATS)}")
    add("--column", metavar="NAME", help="the photos' column of parquet files")
    add("--address", metavar="HOST:PORT|auto", help="a Ray cluster (default: one started here)")
    add("--checkpoint", default="demo", help="demo, a run, a checkpoint folder or a hub id")
    add("--adapter", metavar="NAME|none", help="another adapter than the checkpoint's, or none")
    add("--threshold", type=share, metavar="P", help="minimum confidence of boxes (default 0.4)")
    add(
        "--batch-size", type=positive, default=16, metavar="N", help="photos at a time (default 16)"
    )
    add("--device", choices=DEVICES, default="auto", help="default: cuda where workers have GPUs")
    add("--workers", type=positive, metavar="N", help="models at work (default: GPUs, else CPUs)")
    add("--gpus-per-worker", type=gpus, metavar="G", help="0.5: two share one (default 1 if any)")
    add("--limit", type=positive, metavar="N", help="only the first N photos")
    add("--crops", metavar="DIR", help="also save the tables cut out, in a folder all machines see")
    return options


def gpus(text: str) -> float:
    """Parses a share of a GPU, or a number of GPUs."""
    with suppress(ValueError):
        number = float(text)
        if 0 <= number <= 1 or (number > 0 and number.is_integer()):
            return number
    raise argparse.ArgumentTypeError(f"give a share of a GPU or a number of GPUs, not {text}")


def _run(args: argparse.Namespace) -> int:
    if (args.to is None) == (args.out is None):
        raise ValueError("say where to write: --out DIR, or --to FORMAT FILE for a DIR of answers")
    return _export(args.source, *args.to) if args.to else _to_folder(args)


def _to_folder(args: argparse.Namespace) -> int:
    # Here and not above: they take seconds, which --help and a mistyped option need not wait for.
    from nutrition_vl.batch.results import Results
    from nutrition_vl.batch.source import list_photos, require_own_crops

    listed = list_photos(args.source, args.column)
    names = {photo["photo"]: photo for photo in listed}
    photos, twice = [*names.values()][: args.limit], len(listed) - len(names)
    if args.crops:
        require_own_crops(photos)
    run, about = _description(args)
    results = Results(args.out)
    with results.only_command():
        results.begin(run, about)
        done = results.photos()
        missing = [photo for photo in photos if photo["photo"] not in done]
        if missing:
            _answer(args, results, missing, len(photos))
        counts = results.finish(run | about | {"listed_again": twice})
    print(_summary(args.out, counts, len(missing), twice), file=sys.stderr)
    return int(counts["errors"] > 0)


def _description(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that answers depend on, and more about them; fills in the defaults of `args`."""
    from nutrition_vl.models.checkpoints import read_card, resolve, resolve_adapter
    from nutrition_vl.models.names import NONE, THRESHOLD
    from nutrition_vl.running.answers_file import provenance

    for name in ("checkpoint", "adapter"):  # workers have other working directories
        if os.path.isdir(getattr(args, name) or "") and getattr(args, name) != "demo":
            setattr(args, name, os.path.abspath(getattr(args, name)))
    own = args.checkpoint if resolve(args.checkpoint).adapter else NONE
    args.adapter = args.adapter or own
    args.threshold = THRESHOLD if args.threshold is None else args.threshold
    run = provenance(args.checkpoint, args.adapter) | {
        "threshold": args.threshold,
        "source": args.source,
        "column": args.column,
    }
    card = None if args.adapter == NONE else asdict(read_card(resolve_adapter(args.adapter)[1]))
    versions = {name: version(name) for name in ("ray", "torch", "transformers", "pyarrow")}
    return run, {"versions": versions, "commit": git_commit(), "card": card}


def _answer(
    args: argparse.Namespace, results: "Results", missing: list[dict[str, Any]], total: int
) -> None:
    """Writes a row per missing photo."""
    from nutrition_vl.batch import places
    from nutrition_vl.batch.pipeline import Settings, answers, cluster

    settings = Settings(
        args.checkpoint,
        args.adapter,
        args.threshold,
        args.crops and places.absolute(args.crops),
        args.batch_size,
        args.workers,
        args.gpus_per_worker,
        args.device,
    )
    results.reopen()
    bar = tqdm(total=total, initial=total - len(missing), unit="photo")
    with bar, cluster(args.address, settings.gpus):
        _write(answers(missing, settings), results, bar)


def _write(tables: Iterable["pa.Table"], results: "Results", bar: tqdm) -> None:
    """Writes the rows of a second as a part, then of two, four and so on up to SECONDS."""
    import pyarrow as pa

    rows: list[pa.Table] = []
    seconds, start = 1.0, monotonic()
    try:
        for table in tables:
            rows.append(table)
            bar.update(len(table))
            if monotonic() - start >= seconds:
                results.add(pa.concat_tables(rows))
                rows, seconds, start = [], min(SECONDS, 2 * seconds), monotonic()
    finally:  # also where the workers cannot go on, or Control-C ends the command
        if rows:
            results.add(pa.concat_tables(rows))


def _summary(out: str, counts: dict[str, int], answered: int, twice: int) -> str:
    words = (
        f"{out}: {counts['photos']} photos, {counts['without_table']} of them without a table,"
        f" {counts['errors']} unread; {counts['photos'] - answered} were there before"
    )
    return f"{words}; {twice} are in the source more than once" if twice else words


def _export(folder: str, form: str, file: str) -> int:
    if form not in FORMATS:
        raise ValueError(f"there is no format {form}: choose from {', '.join(FORMATS)}")
    from nutrition_vl.batch import places
    from nutrition_vl.batch.results import Results
    from nutrition_vl.export import export

    results = Results(folder)
    rows = results.rows()
    places.write(file, export(rows, form, {}))
    unfinished = "" if results.finished else ", and the run is not finished"
    print(f"{file}: {len(rows)} photos{unfinished}")
    return 0


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
