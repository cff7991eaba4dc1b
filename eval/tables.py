"""The tables of a report as text: rows, differences, definitions, slices and seeds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from eval.bootstrap import COMPARED, spread
from eval.evaluate import Difference, Result, best, called, differences
from eval.slices import Row, by_label, by_size, by_tables, confusion, operating_points
from nutrition_vl.boxes import LABELS

SHOWN = {
    "precision@0.5": "P@.5",
    "recall@0.5": "R@.5",
    "f1@0.5": "F1@.5",
    "f1@0.75": "F1@.75",
    "f1@0.9": "F1@.9",
    "ap": "AP",
    "false_alarm_rate": "false alarms",
    "malformed_rate": "malformed",
    "seconds_per_photo": "s/photo",
}
DEFINITIONS = {
    "mean_iou": "best match",
    "mean_iou_one_to_one": "one-to-one",
    "mean_iou_symmetric": "symmetric",
    "mean_iou_first_box": "first box",
    "mean_iou_per_photo": "per photo",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ar": "AR",
}
NAMES = {
    "mean_iou": "mean IoU",
    "precision@0.5": "P@.5",
    "recall@0.5": "R@.5",
    "f1@0.5": "F1@.5",
    "ap": "AP",
}


@dataclass(frozen=True)
class Sheet:
    """A table: its title, its headings and its rows, all as text."""

    title: str
    head: list[str]
    rows: list[list[str]]


def summary(results: Sequence[Result]) -> list[Sheet]:
    """The rows, and how the best differs from the others."""
    return [_main(results), _differences(differences(results))]


def details(results: Sequence[Result]) -> list[Sheet]:
    """Seeds, other definitions, and where the best row is good and where not."""
    row = best(results)
    names = {*row.answers.truth.data["class_name"], *row.answers.found.data["class_name"]}
    labels = {"by label": by_label(row.answers)} if len(names) > 1 else {}
    tables = labels | {
        "by size of the table": by_size(row.answers, row.pairing),
        "by number of tables": by_tables(row.answers, row.counts),
        "used with one box of confidence >= t": operating_points(row.answers, row.pairing),
    }
    return [
        *_seeds(results),
        _definitions(results),
        *(_slice(f"{row.name}, {title}", found) for title, found in tables.items()),
        _confusion(row),
    ]


def number(value: float | None, digits: int = 3) -> str:
    """A number as text, a dash where there is none."""
    return f"{value:.{digits}f}" if value is not None and isfinite(value) else "-"


def _main(results: Sequence[Result]) -> Sheet:
    answers = results[0].answers
    title = f"{len(answers.ids)} photos, {len(answers.truth)} true boxes"
    rows = []
    for row in results:
        scores, sure = row.scores(), row.sure("mean_iou")
        bounds = f"{number(sure.value)} [{number(sure.low)}, {number(sure.high)}]"
        rows.append([called(row, results), bounds, *(number(scores[name]) for name in SHOWN)])
    return Sheet(title, ["row", "mean IoU [95 %]", *SHOWN.values()], rows)


def _differences(found: Sequence[Difference]) -> Sheet:
    rows = [
        [
            f"{entry.first} - {entry.second}",
            NAMES[entry.measure],
            f"{entry.interval.value:+.3f}",
            f"[{entry.interval.low:+.3f}, {entry.interval.high:+.3f}]",
            "not distinguishable" if entry.interval.holds_zero else "different",
        ]
        for entry in found
    ]
    head = ["pair", "number", "difference", "95 %", "verdict"]
    return Sheet("the best row against the others, photo for photo", head, rows)


def _seeds(results: Sequence[Result]) -> list[Sheet]:
    """Mean and standard deviation over runs of one recipe that differ by seed, step by step."""
    groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
    for row in results:
        if row.target and row.target.card and row.step is not None:
            groups[row.target.card.recipe, row.step].append(row)
    rows = []
    for (recipe, step), members in groups.items():
        seeds = {row.target.card.seed for row in members if row.target and row.target.card}
        if 1 < len(seeds) == len(members):
            found = [spread([row.scores()[name] for row in members]) for name in COMPARED]
            cells = [f"{number(mean)} ± {number(deviation)}" for mean, deviation in found]
            rows.append([f"{recipe}, step {step}", str(len(seeds)), *cells])
    head = ["recipe", "seeds", *(NAMES[name] for name in COMPARED)]
    return [Sheet("over seeds", head, rows)] if rows else []


def _definitions(results: Sequence[Result]) -> Sheet:
    rows = [
        [called(row, results), *(number(row.scores()[name]) for name in DEFINITIONS)]
        for row in results
    ]
    head = ["row", *DEFINITIONS.values()]
    return Sheet("the same answers by other definitions, and COCO's", head, rows)


def _slice(title: str, found: Sequence[Row]) -> Sheet:
    head = list(found[0]) if found else ["nothing found"]
    rows = [[_text(value) for value in row.values()] for row in found]
    return Sheet(title, [NAMES.get(name, name.replace("_", " ")) for name in head], rows)


def _confusion(row: Result) -> Sheet:
    counts = confusion(row.answers, row.pairing)
    names = [*LABELS, "nothing"]
    rows = [[name, *map(str, line)] for name, line in zip(names, counts, strict=True)]
    return Sheet(f"{row.name}, labels: true down, found across", ["", *names], rows)


def _text(value: float | str) -> str:
    return number(value) if isinstance(value, float) else str(value)
