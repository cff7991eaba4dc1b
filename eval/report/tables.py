"""The tables of a report: single rows, then comparisons, definitions, slices and labels."""

from collections.abc import Sequence

from eval.metrics.average_precision import AveragePrecision, ap_without_confidence
from eval.metrics.measures import MEASURES, precision_recall_f1
from eval.metrics.slices import (
    Row,
    by_label,
    by_size,
    by_tables,
    by_threshold,
    confusion,
    operating_points,
)
from eval.report.columns import DEFINITIONS, MAIN, STRICT, headings
from eval.report.comparisons import above, drops, pairs, seeds
from eval.report.results import Report, Result
from eval.report.table import Sheet, number
from nutrition_vl.boxes import LABELS

DOCUMENTED = dict[str, object](MEASURES) | {
    "precision, recall, F1": precision_recall_f1,
    "AP, AP50, AP75, AR": AveragePrecision,
    "AP without confidence": ap_without_confidence,
    "confidence >= t": by_threshold,
    "used with one box": operating_points,
}


def summary(report: Report) -> list[Sheet]:
    """The rows, how the best differs from the others, seeds, and the cost of worse photos."""
    return [_main(report), *_flags(report), *seeds(report), *above(report), *drops(report)]


def details(report: Report) -> list[Sheet]:
    """Other definitions, every pair of rows, and the best row's numbers by kind of photo."""
    row, name = report.best, report.name(report.best)
    answers, pairing = row.answers, row.pairing
    labels = {*answers.truth.data["class_name"], *answers.predictions.data["class_name"]}
    slices = {"by label": by_label(answers, row.all_boxes[0])} if len(labels) > 1 else {}
    slices |= {
        "by size of the table": by_size(answers, pairing, row.all_boxes),
        "by number of tables": by_tables(answers, row.counts),
        "boxes of confidence >= t": by_threshold(*row.all_boxes),
        "used with one box of confidence >= t": operating_points(*row.all_boxes),
    }
    return [
        _numbers("the same predictions by other definitions, and COCO's", DEFINITIONS, report),
        _numbers("at stricter IoU", STRICT, report),
        *pairs(report),
        *(_slice(f"{name}, {title}", rows) for title, rows in slices.items()),
        *([_confusion(row, name)] if len(labels) > 1 else []),
        _meanings(),
    ]


def _main(report: Report) -> Sheet:
    rows, sizes = [], [_size(row) for row in report.results]
    for row in report.results:
        scores, iou = row.scores(), row.interval("mean_iou")
        bounds = f"{number(iou.value)} [{number(iou.low)}, {number(iou.high)}]"
        rows.append([report.name(row), bounds, *(number(scores[name]) for name in MAIN)])
    head = ["row", "mean IoU [95 %]", *headings(MAIN)]
    if len({*sizes}) == 1:
        return Sheet(sizes[0], head, rows)
    rows = [[*cells, size] for cells, size in zip(rows, sizes, strict=True)]
    return Sheet("rows about different photos, which do not compare", [*head, "of"], rows)


def _size(row: Result) -> str:
    above = f", boxes of confidence >= {row.threshold:g}" if row.threshold else ""
    return f"{len(row.answers.ids)} photos, {len(row.answers.truth)} true boxes{above}"


def _flags(report: Report) -> list[Sheet]:
    """The starred rows."""
    rows = [
        [report.name(row), "; ".join(row.answers.differs)]
        for row in report.results
        if row.answers.differs
    ]
    title = "* not comparable: settings differ from the checkpoint's card"
    return [Sheet(title, ["row", "settings that differ"], rows, words=True)] if rows else []


def _numbers(title: str, columns: Sequence[str], report: Report) -> Sheet:
    rows = [
        [report.name(row), *(number(row.scores()[name]) for name in columns)]
        for row in report.results
    ]
    return Sheet(title, ["row", *headings(columns)], rows)


def _slice(title: str, rows: Sequence[Row]) -> Sheet:
    cells = [
        [number(value) if isinstance(value, float) else str(value) for value in row.values()]
        for row in rows
    ]
    return Sheet(title, headings([*rows[0]]) if rows else ["no boxes"], cells)


def _confusion(row: Result, name: str) -> Sheet:
    names = [*LABELS, "nothing"]
    counts = zip(names, confusion(row.answers, row.pairing), strict=True)
    title = f"{name}, labels of boxes at IoU 0.5: true down, predicted across"
    return Sheet(title, ["", *names], [[name, *map(str, line)] for name, line in counts])


def _meanings() -> Sheet:
    """The first paragraph of each measure's docstring, where it is defined."""
    rows = [
        [name, " ".join((measure.__doc__ or "").split("\n\n")[0].split())]
        for name, measure in DOCUMENTED.items()
    ]
    return Sheet("meaning of the numbers", ["number", "meaning"], rows, words=True)
