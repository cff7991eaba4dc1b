"""Reads the boxes in one answer of a conversation, however it is written, with raw numbers.

Three notations occur: points (Qwen2-VL's box tokens, or `name(1,2),(3,4)`), JSON with `bbox_2d`
(Qwen2.5-VL and later) and plain lists of four numbers.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from nutrition_vl.boxes import LABELS, from_text

Notation = Literal["points", "bbox_2d", "lists"]

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_POINT = rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)"
_POINTS = re.compile(rf"{_POINT}(?:\s*,\s*{_POINT})+")
# <|object_ref_start|>name<|object_ref_end|> and Qwen-VL's <ref>name</ref>.
_REFERENCE = re.compile(r"<[^<>]*ref[^<>]*>([^<>]*)<[^<>]*ref[^<>]*>")
_TAG = re.compile(r"<[^<>\s]*>?|</[^<>\s]*>")
# Words around a box that name no class: "It is located at (1,2),(3,4)".
_FILLERS = frozenset(
    "a an and answer are area at bbox bounding box boxes by coordinates detected following found "
    "here i image in is it json label located location object objects of on output photo position "
    "region see sure that the there these this yes".split()
)
# Between the negation and the table: "does not seem to show any visible nutrition table".
_BETWEEN = (
    "a an any clear contain contains detect detected display displayed facts find have identify in "
    "include information is it nutrition nutritional of other see seem seems show shown shows such "
    "the there to valid value values visible"
)
_NOTHING = re.compile(
    r"\W*|\W*(?:no|none|null|nothing)\W*|(?:.*\W)?(?:no|not|without|none|cannot|\w+n't)\W+"
    rf"(?:(?:nutrition-\w+|{_BETWEEN.replace(' ', '|')})\W+)*(?:nutrition-)?"
    r"(?:table|box|label|object|panel)(?:s|es)?\b(?!.*\b(?:but|except|however|only)\b).*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class AnswerBox:
    """A box as an answer writes it: its class, "" where none is named, and four raw numbers."""

    name: str
    numbers: tuple[float, float, float, float]
    notation: Notation


def read_answer(text: str) -> list[AnswerBox] | None:
    """The boxes of an answer; [] where it says that there are none, None where it is other prose.

    ValueError for a box that is cut off or has no four numbers with an area between them.
    """
    read = _read_json if "{" in text or re.search(r"\[\s*[\[0-9-]", text) else _read_points
    boxes = list(read(text))
    return boxes if boxes or says_nothing(text) else None


def says_nothing(text: str) -> bool:
    """True for an answer that states that the photo shows no table."""
    plain = re.sub(r"```(?:json)?", "", text).strip()
    return not any(map(str.isdigit, plain)) and _NOTHING.fullmatch(plain) is not None


def shorten(text: str) -> str:
    """The beginning of a text, in quotes, on one line."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _read_points(text: str) -> Iterator[AnswerBox]:
    matches = [*_POINTS.finditer(text)]
    parsed = from_text(text, (1, 1))
    # `from_text` clips numbers to the grid, so it only counts: each attempt must be one box here.
    if len(parsed.spans) + parsed.malformed != len(matches):
        raise ValueError(f"a box is cut off in the answer {shorten(text)}")
    end, name = 0, ""
    for match in matches:
        name = _name(text[end : match.start()], name)
        numbers = [float(number) for number in re.findall(_NUMBER, match[0])]
        yield _box(name, numbers, "points")
        end = match.end()


def _read_json(text: str) -> Iterator[AnswerBox]:
    end, name = 0, ""
    while start := re.search(r"[\[{]", text[end:]):
        begin = end + start.start()
        try:
            value, length = json.JSONDecoder().raw_decode(text[begin:])
        except json.JSONDecodeError as error:
            raise ValueError(f"no JSON in the answer {shorten(text)} ({error.msg})") from error
        name = _name(text[end:begin], name)
        yield from _json_boxes(value, name)
        end = begin + length


def _json_boxes(value: Any, name: str) -> Iterator[AnswerBox]:
    if isinstance(value, dict) and "bbox_2d" in value:
        named = [value[key] for key in ("label", "category", "name") if key in value] or [name]
        if (len(value) > 1 and named == [name]) or not isinstance(named[0], str):
            raise ValueError(f"expected bbox_2d and a label, got {shorten(str(value))}")
        if not _are_numbers(value["bbox_2d"]):
            raise ValueError(f"expected four numbers as bbox_2d, got {value['bbox_2d']!r}")
        yield _box(named[0], value["bbox_2d"], "bbox_2d")
    elif _are_numbers(value):
        yield _box(name, value, "lists")
    elif isinstance(value, list):
        for entry in value:
            yield from _json_boxes(entry, name)
    else:
        raise ValueError(f"expected a list of objects with bbox_2d, got {shorten(str(value))}")


def _are_numbers(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(type(one) in (int, float) for one in value)
    )


def _box(name: str, numbers: list[float], notation: Notation) -> AnswerBox:
    if len(numbers) != 4 or not all(map(isfinite, numbers)):
        raise ValueError(f"a box needs four finite numbers, not {numbers}")
    x0, y0, x1, y1 = numbers
    if x0 == x1 or y0 == y1:
        raise ValueError(f"the box {numbers} has no area")
    return AnswerBox(name, (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), notation)


def _name(before: str, last: str) -> str:
    """The class that the text before a box names; a box that follows another keeps its class."""
    if references := _REFERENCE.findall(before):
        return references[-1].strip()
    words = re.findall(r"[^\W\d_][\w-]*", _TAG.sub(" ", before))
    if not words:
        return last
    if own := [word for word in words if word.lower() in LABELS]:
        return own[-1].lower()
    rest = [word for word in words if word.lower() not in _FILLERS]
    mentions = {"nutrition", "table", "nutritional"} & {word.lower() for word in rest}
    return "" if mentions else " ".join(rest)
