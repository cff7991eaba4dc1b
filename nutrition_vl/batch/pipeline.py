"""Photos through Ray Data: CPU actors read and prepare, answering actors hold the model.

A photo travels as its encoded file and the inputs of its budget of tokens, at most 12 MB where its
pixels would be 36 MB and more, and Ray holds back those who prepare while the object store is half
full. Ray never repeats a task: blocks that a dead worker or node has taken along are left out, and
another round answers what is missing then, on the machines that are left. Repeated tasks would wait
for a place for the same worker, for ever where its machine does not come back.
"""

import logging
import math
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import sleep
from typing import Any

import pyarrow as pa

from nutrition_vl.batch.child import Child
from nutrition_vl.batch.results import SCHEMA
from nutrition_vl.batch.source import Photo, read_photo

OBJECT_STORE = 2_000_000_000  # bytes of a local cluster: some hundred prepared photos
FAILURES, PAUSE = 3, 5  # rounds without an answer, and seconds between: a cluster tidies up
READERS = 8  # threads that wait for files of a network
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
logger = logging.getLogger(__name__)
PREPARED = pa.schema(
    {
        "photo": pa.string(),
        "file": pa.binary(),
        "inputs": pa.binary(),
        "width": pa.int32(),
        "height": pa.int32(),
        "error": pa.string(),
    }.items()
)


@dataclass(frozen=True)
class Settings:
    """The settings of all workers; `gpus` is the share of a GPU per answering actor, None for one
    where the cluster has GPUs and `device` (auto, cpu or cuda) takes them."""

    checkpoint: str
    adapter: str
    threshold: float
    crops: str | None
    batch_size: int
    workers: int | None
    gpus: float | None
    device: str = "auto"


@contextmanager
def cluster(address: str | None, gpus: float | None) -> Iterator[None]:
    """Joins a Ray cluster, or starts one on this machine; ValueError where there is none, or where
    this machine has not the GPUs that a worker is to have."""
    os.environ |= QUIET
    import ray
    from ray.util.annotations import RayDeprecationWarning

    # Of max_restarts, which until 2.64 only `ray_remote_args` takes.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    local = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    try:
        if address and ":" in address:  # Ray would try for a minute
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(
            address or "local",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **({} if address else local),
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"there is no Ray cluster at {address or 'this machine'}: start one with"
            f" `ray start --head`, or leave --address out ({str(error).splitlines()[0]})"
        ) from error
    try:
        # A cluster may start machines for them.
        if not address and (gpus or 0) > ray.cluster_resources().get("GPU", 0):
            raise ValueError(
                f"this machine has no {gpus:g} GPUs for a worker: leave --gpus-per-worker out, or"
                " name a cluster with --address"
            )
        yield
    finally:
        ray.shutdown()


class Prepare:
    """Reads photos and prepares them in a child process; a Ray actor."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.child = Child("prepare", options)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The photos with file, inputs and size, or with the error."""
        photos = batch.to_pylist()
        with ThreadPoolExecutor(READERS) as pool:
            rows = [*pool.map(_read, photos)]
        return pa.Table.from_pylist(_worked(self.child, rows, "file"), PREPARED)


class Answer:
    """Answers prepared photos in a child process that holds the model; a Ray actor."""

    def __init__(self, options: dict[str, Any], columns: dict[str, Any]) -> None:
        self.child, self.columns = Child("answer", options), columns

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A row of results per photo; one without a photo where the work cannot go on."""
        try:
            rows = _worked(self.child, batch.to_pylist(), "inputs")
        except ValueError as error:  # which Ray would pass over as it does a worker's death
            rows = [{"error": str(error)}]
        return pa.Table.from_pylist([row | self.columns for row in rows], SCHEMA)


def _read(photo: Photo) -> dict[str, Any]:
    try:
        return {"photo": photo["photo"], "file": read_photo(photo)}
    except (OSError, ValueError) as error:
        return {"photo": photo["photo"], "error": str(error)}


def _worked(child: Child, rows: list[dict[str, Any]], needed: str) -> list[dict[str, Any]]:
    """The rows with the child's results; those without what it needs already have an error."""
    items = [row for row in rows if row.get(needed) is not None]
    results = iter(child.results(items))
    for row in items:
        killed = {"error": f"{row['photo']} ended its worker twice: leave it out, or save it again"}
        row.update(next(results) or killed)
    return rows


def answers(photos: Sequence[Photo], settings: Settings) -> Iterator[pa.Table]:
    """Tables of results as they come, in any order: one row per photo, after as many rounds as the
    deaths of workers and machines take. ValueError where several in a row answer nothing."""
    from ray.exceptions import RayError

    missing, failures = {photo["photo"]: photo for photo in photos}, 0
    while missing:
        before, problem = len(missing), "the workers die before they answer a photo: add memory"
        try:
            for table in _round([*missing.values()], settings):
                if table["photo"].null_count:
                    raise ValueError(table["error"][0].as_py())
                for name in table["photo"].to_pylist():
                    del missing[name]
                yield table
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            if reason.startswith("ValueError: "):  # no death: another round would end the same
                raise ValueError(reason.removeprefix("ValueError: ")) from error
            problem = f"no worker can start: {reason}"
        failures = failures + 1 if len(missing) == before else 0
        if failures == FAILURES:
            raise ValueError(problem)
        if missing:
            logger.warning("workers died: %d photos are left for another round", len(missing))
            sleep(PAUSE)


def _round(photos: list[Photo], settings: Settings) -> Iterator[pa.Table]:
    """Results of all photos but those that dead workers had at hand."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    resources = ray.cluster_resources()
    model = {"checkpoint": settings.checkpoint, "adapter": settings.adapter}
    has_gpus = "GPU" in resources and settings.device != "cpu"
    gpus = float(has_gpus) if settings.gpus is None else settings.gpus
    device = settings.device if settings.device != "auto" else "cuda" if gpus else "cpu"
    workers = settings.workers or _fitting(resources, gpus)
    preparers = int(workers) * 8 if gpus else math.ceil(workers / 4)
    prepared = ray.data.from_items(
        photos, override_num_blocks=math.ceil(len(photos) / settings.batch_size)
    ).map_batches(
        Prepare,
        fn_constructor_args=(model | {"dtype": "bfloat16" if device == "cuda" else "float32"},),
        batch_size=settings.batch_size,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=preparers),
        num_cpus=1 if gpus else 0,
        batch_format="pyarrow",
        max_restarts=0,
    )
    columns = model | {"threshold": settings.threshold}
    options = columns | {"crops": settings.crops, "device": device}
    answered = prepared.map_batches(
        Answer,
        fn_constructor_args=(options, columns),
        batch_size=settings.batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=0 if gpus else 1,  # else those that prepare may take its place
        num_gpus=gpus,
        batch_format="pyarrow",
        max_restarts=0,
    )
    yield from answered.iter_batches(batch_size=None, batch_format="pyarrow")


def _fitting(resources: dict[str, float], gpus: float) -> int:
    """As many answering actors as the cluster's GPUs or CPUs hold."""
    return max(1, int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 1)))
