"""The folder of a run: parquet parts, manifest.json, and _SUCCESS once every photo has its row.

The command that was started writes all parts; workers hand it their rows. A part appears whole or
not at all, and a photo of the source is missing, and answered again, until a part holds it. So a
kill of driver, worker or node, at any moment, loses no row that was written and doubles none.
Ray Data's own checkpoints (2.60) would need a file of row ids next to each block, unique ids and a
second pass over the source's rows; they keep neither two settings nor two runs apart.
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nutrition_vl.batch import places
from nutrition_vl.batch.claim import Claim
from nutrition_vl.files import one_writer

MANIFEST, SUCCESS, PART = "manifest.json", "_SUCCESS", "part-"
REMEDY = "choose another --out"
BOX = pa.struct(
    {"xyxy": pa.list_(pa.float64()), "label": pa.string(), "confidence": pa.float64()}.items()
)
SCHEMA = pa.schema(
    {
        "photo": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "boxes": pa.list_(BOX),
        "text": pa.string(),
        "seconds": pa.float64(),
        "error": pa.string(),
        "checkpoint": pa.string(),
        "adapter": pa.string(),
        "threshold": pa.float64(),
    }.items()
)


class Results:
    """The results in a folder, here or in a bucket."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.claim: Claim | None = None

    @contextmanager
    def only_command(self) -> Iterator[None]:
        """Keeps other commands out; ValueError where one is at work."""
        if places.is_url(self.folder):
            self.claim = Claim(self.folder)
        with self.claim.held() if self.claim else one_writer(Path(self.folder), REMEDY):
            yield

    @property
    def finished(self) -> bool:
        """True where a run has answered every photo."""
        return SUCCESS in places.names(self.folder)

    def manifest(self) -> dict[str, Any]:
        """The description of the run; ValueError for a folder of something else."""
        try:
            return json.loads(places.read(self._at(MANIFEST)))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.folder} has no {MANIFEST}: name the --out of python -m nutrition_vl.batch"
            ) from error
        except ValueError as error:
            raise ValueError(f"{self._at(MANIFEST)} is damaged: choose another --out") from error

    def begin(self, run: dict[str, Any], about: dict[str, Any]) -> None:
        """Writes down what the rows are answers of; ValueError where rows of others lie there."""
        names = [name for name in places.names(self.folder) if not name.startswith(".")]
        if not names:
            return self._write(MANIFEST, _json(run | about))
        before = self.manifest()
        differs = [name for name, value in run.items() if before.get(name) != value]
        if differs:
            raise ValueError(
                f"{self.folder} holds a run with another {', '.join(differs)}: choose another --out"
            )

    def reopen(self) -> None:
        """Takes the mark of a complete run away."""
        if self.finished:
            places.delete(self._at(SUCCESS))

    def add(self, rows: pa.Table) -> None:
        """Writes rows as a part of their own."""
        self._write(f"{PART}{uuid4().hex}.parquet", _parquet(rows))

    def photos(self) -> set[str]:
        """The names of all photos with a row."""
        return {name for _, table in self._parts(["photo"]) for name in table["photo"].to_pylist()}

    def rows(self) -> list[dict[str, Any]]:
        """The rows as the records of `python -m nutrition_vl`; raises like `manifest`."""
        self.manifest()
        tables = [table for _, table in self._parts(SCHEMA.names[:7])]
        return [_record(row) for table in tables for row in table.to_pylist()]

    def finish(self, run: dict[str, Any]) -> dict[str, int]:
        """Counts the rows, completes the manifest and marks the run as complete.

        A photo in two parts, which a command can leave that was paused for long, keeps one row.
        """
        names: set[str] = set()
        counts = {"photos": 0, "boxes": 0, "without_table": 0, "errors": 0}
        for part, table in self._parts(SCHEMA.names):
            if not names.isdisjoint(listed := table["photo"].to_pylist()):
                table = table.filter(pa.array([name not in names for name in listed]))
                self._write(part, _parquet(table))
            names.update(listed)
            boxes = pc.list_value_length(table["boxes"])
            counts["photos"] += len(table)
            counts["boxes"] += pc.sum(boxes).as_py() or 0
            counts["without_table"] += pc.sum(pc.equal(boxes, 0)).as_py() or 0
            counts["errors"] += len(table) - table["error"].null_count
        self._write(MANIFEST, _json(run | counts))
        self._write(SUCCESS, b"")
        return counts

    def _parts(self, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        for name in places.names(self.folder):
            if name.startswith(PART):
                content = io.BytesIO(places.read(self._at(name)))
                # A thread of Arrow's (26) may end the process with -6 when it exits at once.
                yield name, pq.read_table(content, columns=list(columns), use_threads=False)

    def _at(self, name: str) -> str:
        return places.join(self.folder, name)

    def _write(self, name: str, content: bytes) -> None:
        if self.claim:
            self.claim.check()
        places.write(self._at(name), content)


def _record(row: dict[str, Any]) -> dict[str, Any]:
    """A photo with an error has that alone, one without has none."""
    if row["error"] is not None:
        return {"photo": row["photo"], "error": row["error"]}
    return {name: value for name, value in row.items() if name != "error"}


def _parquet(rows: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(rows, content)
    return content.getvalue()


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
