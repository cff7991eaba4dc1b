"""Says which class of a source is the nutrition table, and counts the boxes of others."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from nutrition_vl.boxes import LABELS

logger = logging.getLogger(__name__)


def renaming(
    used: set[str], declared: Iterable[str], source: str | Path, label: str | None = None
) -> dict[str, str]:
    """Our names by the source's; a class that is not among the keys is to be left out.

    `used` are the classes of the boxes, `declared` all that the source names. `label` is the class
    that is the nutrition table; without it a source's only class is. Raises ValueError for classes
    of other names.
    """
    classes, ours = used | set(declared), {name: name for name in LABELS}
    if label is not None:
        if label not in classes:
            raise ValueError(f"{source} has no class {label!r}: it has {_listed(classes)}")
        return ours | {label: LABELS[0]}
    if used <= set(LABELS):
        return ours
    if len(classes) == 1:
        logger.warning("%s: reading its one label %s as %s", source, *classes, LABELS[0])
        return dict.fromkeys(classes, LABELS[0])
    others = "" if classes == used else f", boxes of {_listed(used)}"
    raise ValueError(
        f"{source} has the labels {_listed(classes)}{others}: rename them to {', '.join(LABELS)}, "
        "or name the nutrition table's (--label NAME) to leave the others out"
    )


def warn_of_others(source: object, others: Mapping[str, int]) -> None:
    """Logs how many boxes of other classes are left out."""
    if others:
        counts = ", ".join(f"{count} of {name}" for name, count in sorted(others.items()))
        logger.warning("%s: left out the boxes of other classes: %s", source, counts)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def coco_classes(categories: list, used: set[str]) -> set[str]:
    """The class names, without the unused one by which Roboflow groups the others."""
    pairs = [(str(one["name"]).strip(), str(one.get("supercategory"))) for one in categories]
    groups = {group for name, group in pairs if group != name} - used - set(LABELS)
    return {name for name, _ in pairs} - groups
