"""A file of answers that a stopped command goes on with: one JSON line per photo, of one model."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from nutrition_vl import prompts
from nutrition_vl.files import one_writer, write_atomically
from nutrition_vl.models.checkpoints import resolve, resolve_adapter
from nutrition_vl.models.names import NONE
from nutrition_vl.running.resume import as_line, contents, entries, locked


class AnswersFile:
    """Lines of answers, and next to them FILE.json with the model and settings of all lines."""

    def __init__(self, file: Path, provenance: dict[str, Any]) -> None:
        self.file, self.provenance = file, provenance
        self.note = file.with_name(f"{file.name}.json")

    def only_command(self) -> AbstractContextManager[None]:
        """Keeps other commands out of the file; ValueError where one is at work."""
        return one_writer(self.file.parent, "choose another --out", self.file.name)

    def missing(self, photos: Sequence[Path]) -> list[Path]:
        """The photos without a line, each once; ValueError for a file of another model."""
        if self.file.exists() and self.file.stat().st_size:  # it may be a file of something else
            self._check()
        names = {entry["photo"] for entry in entries(self.file, "photo")}
        return [photo for name, photo in _by_name(photos).items() if name not in names]

    def begin(self) -> None:
        """Writes FILE.json."""
        write_atomically(self.note, json.dumps(self.provenance, indent=2) + "\n")

    def append(self, line: dict[str, Any]) -> None:
        """Adds a whole line, which a kill at any moment leaves whole or cuts off."""
        with locked(self.file, wait=True) as stream:
            stream.write(as_line(line))

    def summary(self, photos: Sequence[Path]) -> tuple[str, int]:
        """One sentence about the photos' lines, and how many of them could not be read."""
        names = _by_name(photos)
        lines = [line for line in entries(self.file, "photo") if line["photo"] in names]
        unread = sum("error" in line for line in lines)
        empty = sum(not line.get("boxes", True) for line in lines)
        changed = sum(line.get("overruled", 0) > 0 for line in lines)
        words = (
            f"{self.file}: {len(lines)} photos, {empty} of them without a table, {unread} unread"
        )
        return f"{words}; the grammar changed {changed} answers", unread

    def _check(self) -> None:
        if not self.note.exists():
            raise ValueError(
                f"{self.file} has no {self.note.name} that says what it holds: move it away, or"
                " choose another --out"
            )
        before = json.loads(self.note.read_text(encoding="utf-8"))
        differs = [name for name, own in self.provenance.items() if before.get(name) != own]
        if differs:
            raise ValueError(
                f"{self.file} holds answers with another {', '.join(differs)}: move it away, or"
                " choose another --out"
            )


def provenance(checkpoint: str, adapter: str | None) -> dict[str, Any]:
    """The model and prompt that answers depend on; weights by their content."""
    model = resolve(checkpoint)
    folder = model.adapter
    if adapter:
        folder = None if adapter == NONE else resolve_adapter(adapter)[1]
    return {
        "checkpoint": contents(model.base, model.revision),
        "adapter": contents(str(folder)) if folder else NONE,
        "prompt": prompts.fingerprint(),
    }


def _by_name(photos: Sequence[Path]) -> dict[str, Path]:
    return {str(photo): photo for photo in photos}
