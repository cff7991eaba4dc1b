"""The tables of a report that compare rows: differences, pairs, seeds, worse photos."""

from collections import defaultdict

from eval.metrics.bootstrap import COMPARED, Interval, spread
from eval.report.columns import headings
from eval.report.results import Report, Result, best, by_recipe, compare, same_photos
from eval.report.table import Sheet, number

DIFFERENT = "different"
MATRIX = 12  # rows that are compared each with each


def above(report: Report) -> list[Sheet]:
    """One line per row, the best less the row, unless it is alone."""
    rows: dict[str, list[str]] = defaultdict(list)
    for entry in report.differences:
        rows[entry.second] += _difference(entry.interval)
    head = ["row"]
    for name in headings(COMPARED):
        head += [f"{name} above by", "95 %", ""]
    title = f"{report.name(report.best)} above the others, paired by photo"
    return [Sheet(title, head, [[name, *row] for name, row in rows.items()])] if rows else []


def drops(report: Report) -> list[Sheet]:
    """The cost of each perturbation for the rows that predicted perturbed photos."""
    rows = []
    for clean in report.results:
        own = [row for row in report.perturbed if (row.run, row.name) == (clean.run, clean.name)]
        name = report.name(clean)
        rows += [[name, "as they are", *_two(clean), "", "", ""]] if own else []
        for row in own:
            change = _difference(compare(row, clean, "mean_iou"))
            rows.append([name, row.perturb, *_two(row), *change])
    head = ["row", "photos", *headings(COMPARED), "mean IoU changes by", "95 %", ""]
    return [Sheet("on worse photos, the truth moved with them", head, rows)] if rows else []


def pairs(report: Report) -> list[Sheet]:
    """Each row less each other in mean IoU, in brackets where that is noise or rounds to zero.

    Of many rows only the first, which is the base, and the best of each run.
    """
    rows = report.results
    if len(rows) > MATRIX:
        runs = dict.fromkeys(row.run for row in rows)
        leaders = [best([row for row in rows if row.run == run]) for run in runs]
        rows = [row for row in rows if row is rows[0] or any(row is one for one in leaders)]
    if len(rows) < 3:  # as the differences already show it
        return []
    lines = [
        [f"{number}. {report.name(row)}", *(_pair(row, column) for column in rows)]
        for number, row in enumerate(rows, 1)
    ]
    head = ["row less column", *(f"{number}." for number in range(1, len(rows) + 1))]
    return [Sheet("mean IoU of pairs, in brackets where not different", head, lines)]


def seeds(report: Report) -> list[Sheet]:
    """Mean and standard deviation over runs of one recipe that differ by seed, per step."""
    rows = []
    for (recipe, step), members in by_recipe(report.results).items():
        if len(members) > 1:
            spreads = [spread([row.scores()[name] for row in members]) for name in COMPARED]
            cells = [f"{number(mean)} ± {number(deviation)}" for mean, deviation in spreads]
            rows.append([recipe, str(step), str(len(members)), *cells])
    head = ["recipe", "step", "seeds", *headings(COMPARED)]
    return [Sheet("mean ± standard deviation over seeds", head, rows)] if rows else []


def _difference(interval: Interval) -> list[str]:
    """Value, bounds and verdict; a difference that rounds to zero is never called different."""
    verdict = DIFFERENT if round(interval.value, 3) else "less than 0.001"
    if interval.holds_zero:
        verdict = "not distinguishable"
    bounds = f"[{interval.low:+.3f}, {interval.high:+.3f}]"
    return [f"{interval.value:+.3f}", bounds, verdict]


def _two(row: Result) -> list[str]:
    return [number(row.scores()[name]) for name in COMPARED]


def _pair(row: Result, column: Result) -> str:
    if row is column or not same_photos(row, column):
        return ""
    value, _, verdict = _difference(compare(row, column, "mean_iou"))
    return value if verdict == DIFFERENT else f"({value})"
