"""Ids of photos: unique ones for result files, and those of COCO in one type."""

import re
from collections import Counter
from collections.abc import Hashable, Iterable


def coco_id(value: object) -> Hashable:
    """Ids as one type: tools write 1, 1.0 and "1" for the same photo."""
    if type(value) is int:  # half a million calls for 100,000 annotations
        return value
    if isinstance(value, str) and re.fullmatch(r"0|[1-9]\d{0,29}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return value  # 1.0 == 1, also as a key


def unique(names: Iterable[str]) -> list[str]:
    """Ids for result files: the second `a` (of another folder) becomes `a-2`."""
    counts: Counter[str] = Counter()
    return [numbered(name, counts) for name in names]


def numbered(name: str, counts: Counter[str]) -> str:
    """The name, with a number from its second time on; counts it in `counts`."""
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}-{counts[name]}"
