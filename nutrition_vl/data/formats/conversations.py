"""Reads conversations about photos whose answers hold boxes (LLaVA, ShareGPT, chat messages)."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from nutrition_vl.boxes import EXAMPLE, LABELS
from nutrition_vl.data.formats.answer_boxes import AnswerBox, read_answer, shorten
from nutrition_vl.data.formats.conventions import AnsweredPhoto, Scale, choose_scale, to_shares
from nutrition_vl.data.paths import locate
from nutrition_vl.data.photos import photo_size
from nutrition_vl.data.rows import (
    Sample,
    Skipped,
    attempt,
    naming,
    of_split,
    require,
    without_shared_photos,
)

ANSWERS = frozenset({"gpt", "assistant", "model", "bot"})
OTHERS = frozenset({"human", "user", "system"})
LONGEST = 1000  # characters of a path; photos in base64 have many more
ASPECT = 0.1  # Qwen's resized sides are multiples of 28 pixels, so the aspect is a little off

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversation:
    """One entry: its photo, the boxes of its answers, and the size that it states for the photo."""

    where: str
    photo: Path
    boxes: list[AnswerBox]
    stated_size: tuple[int, int] | None


def read_conversations(
    file: Path, entries: list[dict], split: str, skipped: list[Skipped] | None = None
) -> list[Sample]:
    """One sample per entry of the split: {"image": ..., "conversations" or "messages": [...]}.

    ValueError where no answer holds a box or the convention of the numbers stays open. With a list
    `skipped`, entries that cannot be read are put there instead.
    """
    # 1) answers as text, 2) the convention of all numbers, 3) boxes in shares of the sides
    chosen = of_split(entries, split, file, skipped)
    conversations = _read(chosen, file, skipped)
    ids = {*map(id, chosen)}
    rest = [one for one in entries if isinstance(one, Mapping) and id(one) not in ids]
    others = _read(rest, file, [])  # which only declare classes
    if conversations and not any(one.boxes for one in conversations):
        raise ValueError(f"no answer in {file} holds a box; one is written {EXAMPLE}")
    measured = [(one, attempt(skipped, one.photo.stem, _measure, one)) for one in conversations]
    photos = [photo for _, by_notation in measured for photo in by_notation or ()]
    notation = attrgetter("notation")
    groups = groupby(sorted(photos, key=notation), notation)
    scales = {name: choose_scale([*group], file) for name, group in groups}
    classes = {box.name or LABELS[0] for one in conversations + others for box in one.boxes}
    base = Sample("", "", [], [], file=str(file), classes=frozenset(classes))
    samples = [
        attempt(skipped, one.photo.stem, _sample, one, by_notation, scales, base)
        for one, by_notation in measured
        if by_notation is not None
    ]
    if conversations:
        logger.warning("%s: its questions are replaced by the prompt of detection", file)
    return without_shared_photos([sample for sample in samples if sample], skipped)


def _read(entries: Iterable, file: Path, skipped: list[Skipped] | None) -> list[Conversation]:
    named = [(str(one.get("image"))[:LONGEST], one) for one in entries]
    read = [attempt(skipped, name, _conversation, one, file) for name, one in named]
    return [conversation for conversation in read if conversation]


def _conversation(entry: Mapping, file: Path) -> Conversation:
    image = entry.get("image") or entry.get("images") or "a conversation"
    where = f"{file}, {str(image)[:LONGEST]}"
    with naming(where):
        parts = [*_parts(entry)]
        names = list(dict.fromkeys(_photo_names([entry.get("image"), entry.get("images"), *parts])))
        if not names:
            require(("image",), entry, file)
        if len(names) != 1:
            raise ValueError(f"{where}: expected one photo per conversation, got {len(names)}")
        answers = [_text(turn) for turn in _turns(entry, file) if _is_answer(turn, where)]
        size = next(filter(None, map(_stated_size, (entry, *parts))), None)
        return Conversation(where, _find(names[0], file), _boxes(answers, where), size)


def _turns(entry: Mapping, file: Path) -> list[Mapping]:
    chat = "conversations" if "conversations" in entry else "messages"
    require((chat,), entry, file)
    return entry[chat]


def _parts(entry: Mapping) -> Iterator[Mapping]:
    """The parts of all turns that hold a photo or stand for one."""
    for turn in entry.get("conversations") or entry.get("messages") or ():
        content = turn.get("content", turn.get("value"))
        for part in content if isinstance(content, list) else ():
            if isinstance(part, Mapping) and str(part.get("type")).startswith("image"):
                yield part


def _photo_names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _photo_names([value.get(key) for key in ("image", "image_url", "url", "path")])
    elif isinstance(value, list):
        for one in value:
            yield from _photo_names(one)
    elif value is not None:
        raise TypeError(f"expected the path of a photo, got {value!r}")


def _stated_size(entry: Mapping) -> tuple[int, int] | None:
    """The size that pixel boxes belong to, where an entry or an image part states it."""
    for keys in (("resized_width", "resized_height"), ("width", "height")):
        width, height = (entry.get(key) for key in keys)
        if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
            return width, height
    return None


def _find(name: str, file: Path) -> Path:
    """The photo next to the file, or in `images` there; of a URL or absolute path, by its tail."""
    if name.startswith("data:") or len(name) > LONGEST:
        raise ValueError(
            f"{file}: a photo lies in the file itself ({name[:22]}...): save it as a file of its"
            " own, and write its path there"
        )
    (photo,) = locate([name.removeprefix("file://")], (file.parent, file.parent / "images"))
    return photo


def _boxes(answers: list[str], where: str) -> list[AnswerBox]:
    """The boxes of all answers, each once; ValueError where an answer is neither boxes nor "no"."""
    if not answers:
        raise ValueError(f"no answer in {where} holds a box; one is written {EXAMPLE}")
    try:
        readings = [read_answer(answer) for answer in answers]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    boxes = dict.fromkeys(box for some in readings for box in some or ())
    if not boxes and None in readings:
        prose = shorten(answers[readings.index(None)])
        raise ValueError(f"{where}: the answer {prose} holds no box; one is written {EXAMPLE}")
    return list(boxes)


def _is_answer(turn: Mapping, where: str) -> bool:
    speaker = str(turn.get("role") or turn.get("from")).lower()
    if speaker not in ANSWERS | OTHERS:
        roles = ", ".join(sorted(ANSWERS | OTHERS))
        raise ValueError(f"{where}: expected a role among {roles}, got {speaker!r}")
    return speaker in ANSWERS


def _text(turn: Mapping) -> str:
    content = turn["content"] if "content" in turn else turn["value"]
    parts = [content] if isinstance(content, str) else content
    return "".join(part if isinstance(part, str) else part.get("text", "") for part in parts)


def _measure(one: Conversation) -> list[AnsweredPhoto]:
    """The boxes by notation, with the size that pixels would belong to."""
    if not one.boxes:
        return []
    size, stated = photo_size(one.photo), one.stated_size
    if stated and abs(stated[0] * size[1] / (stated[1] * size[0]) - 1) > ASPECT:
        raise ValueError(
            f"{one.where}: its boxes are drawn on {stated[0]} x {stated[1]}, but the upright photo"
            f" is {size[0]} x {size[1]}"
        )
    notations = dict.fromkeys(box.notation for box in one.boxes)
    return [
        AnsweredPhoto(
            [box for box in one.boxes if box.notation == notation], stated or size, bool(stated)
        )
        for notation in notations
    ]


def _sample(
    one: Conversation, photos: list[AnsweredPhoto], scales: Mapping[str, Scale], base: Sample
) -> Sample:
    try:
        boxes = [box for photo in photos for box in to_shares(photo, scales[photo.notation])]
    except ValueError as error:
        raise ValueError(f"{one.where}: {error}") from error
    return replace(
        base,
        id=one.photo.stem,
        image=str(one.photo),
        xyxy=boxes,
        labels=[box.name or LABELS[0] for photo in photos for box in photo.boxes],
    )
