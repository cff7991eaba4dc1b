"""The tables of a report that hold rows against each other: pairs, seeds, worse photos."""

from collections import defaultdict
from collections.abc import Sequence

from eval.metrics.bootstrap import COMPARED, Interval, spread
from eval.report.results import (
    Report,
    Result,
    best,
    by_recipe,
    called,
    compare,
    differences,
    same_photos,
)
from eval.report.table import NAMES, Sheet, number

MATRIX = 12  # rows to be compared each with each


def above(results: Sequence[Result]) -> list[Sheet]:
    """A line a row, the best less the row, unless it is alone."""
    rows: dict[str, list[str]] = defaultdict(list)
    for entry in differences(results):
        rows[entry.second] += _compared(entry.interval)
    head = ["row"]
    for name in COMPARED:
        head += [f"{NAMES[name]} above by", "95 %", ""]
    title = f"{called(best(results), results)} above the others, photo for photo"
    lines = [[name, *cells] for name, cells in rows.items()]
    return [Sheet(title, head, lines)] if lines else []


def _compared(found: Interval) -> list[str]:
    verdict = "not distinguishable" if found.holds_zero else "different"
    return [f"{found.value:+.3f}", f"[{found.low:+.3f}, {found.high:+.3f}]", verdict]


def drops(report: Report) -> list[Sheet]:
    """What each way to spoil the photos costs the rows that were asked again."""
    results = {(row.run, row.name): row for row in report.results}
    asked = dict.fromkeys((row.run, row.name) for row in report.perturbed)
    rows = []
    for clean in (results[key] for key in asked):
        name = called(clean, report.results)
        rows.append([name, "as they are", *_two(clean), "", "", ""])
        for row in report.perturbed:
            if (row.run, row.name) == (clean.run, clean.name):
                changed = _compared(compare(row, clean, "mean_iou"))
                rows.append([name, row.perturb, *_two(row), *changed])
    head = ["row", "photos", *(NAMES[name] for name in COMPARED), "mean IoU changes by", "95 %", ""]
    return [Sheet("on worse photos, the truth moved with them", head, rows)] if rows else []


def _two(row: Result) -> list[str]:
    return [number(row.scores()[name]) for name in COMPARED]


def pairs(results: Sequence[Result]) -> list[Sheet]:
    """Each row less each other in mean IoU; a difference that may be noise stands in brackets.

    Of many rows only the first, which is the base, and the best of each run.
    """
    rows = [*results]
    if len(rows) > MATRIX:
        runs = {row.run for row in rows}
        leaders = [best([row for row in rows if row.run == run]) for run in runs]
        rows = [row for row in rows if row is rows[0] or any(row is leader for leader in leaders)]
    if len(rows) < 3:  # the differences say it already
        return []
    lines = [
        [f"{number}. {called(row, results)}", *(_pair(row, column) for column in rows)]
        for number, row in enumerate(rows, 1)
    ]
    head = ["row less column", *(f"{number}." for number in range(1, len(rows) + 1))]
    return [Sheet("mean IoU of pairs, in brackets where not distinguishable", head, lines)]


def _pair(row: Result, column: Result) -> str:
    if row is column or not same_photos(row, column):
        return ""
    found = compare(row, column, "mean_iou")
    return f"({found.value:+.3f})" if found.holds_zero else f"{found.value:+.3f}"


def seeds(results: Sequence[Result]) -> list[Sheet]:
    """Mean and standard deviation over runs of one recipe that differ by seed, step by step."""
    rows = []
    for (recipe, step), members in by_recipe(results).items():
        if len(members) > 1:
            found = [spread([row.scores()[name] for row in members]) for name in COMPARED]
            cells = [f"{number(mean)} ± {number(deviation)}" for mean, deviation in found]
            rows.append([recipe, str(step), str(len(members)), *cells])
    head = ["recipe", "step", "seeds", *(NAMES[name] for name in COMPARED)]
    return [Sheet("mean ± standard deviation over seeds", head, rows)] if rows else []
