"""The tables of a report about single rows: numbers, definitions, slices and labels."""

from collections.abc import Mapping, Sequence

from eval.metrics.average_precision import AveragePrecision, unranked
from eval.metrics.measures import MEASURES, STRICTNESS, precision_recall_f1
from eval.metrics.slices import (
    Row,
    by_label,
    by_size,
    by_tables,
    by_threshold,
    confusion,
    operating_points,
)
from eval.report.comparisons import above, drops, pairs, seeds
from eval.report.results import Report, Result, best, called
from eval.report.table import NAMES, Sheet, number
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
    "ap_unranked": "AP, equally sure",
    "ap50": "AP50",
    "ap75": "AP75",
    "ar": "AR",
}
STRICT = {
    f"{name}@{iou}": f"{short}@{iou:g}".replace("0.", ".")
    for iou in STRICTNESS[1:]
    for name, short in (("precision", "P"), ("recall", "R"), ("f1", "F1"))
}


def summary(report: Report) -> list[Sheet]:
    """The rows, how the best differs from the others, seeds, and what worse photos cost."""
    results = report.results
    return [
        _main(results),
        *_flags(results),
        *seeds(results),
        *above(results),
        *drops(report),
    ]


def details(report: Report) -> list[Sheet]:
    """Other definitions, every pair of rows, and where the best row is good and where not."""
    results, row = report.results, best(report.results)
    names = {*row.answers.truth.data["class_name"], *row.answers.predictions.data["class_name"]}
    labelled = len(names) > 1
    tables = {"by label": by_label(row.answers, row.every[0])} if labelled else {}
    tables |= {
        "by size of the table": by_size(row.answers, row.pairing, row.every),
        "by number of tables": by_tables(row.answers, row.counts),
        "boxes of confidence >= t": by_threshold(*row.every),
        "used with one box of confidence >= t": operating_points(*row.every),
    }
    called_best = called(row, results)
    return [
        _numbers("the same answers by other definitions, and COCO's", DEFINITIONS, results),
        _numbers("at stricter IoU", STRICT, results),
        *pairs(results),
        *(_slice(f"{called_best}, {title}", found) for title, found in tables.items()),
        *([_confusion(row, called_best)] if labelled else []),
        _meanings(),
    ]


def _meanings() -> Sheet:
    """The first sentence of each measure's docstring, where it is defined."""
    documented: dict[str, object] = dict(MEASURES)
    documented["precision, recall, F1"] = precision_recall_f1
    documented["AP, AP50, AP75, AR"] = AveragePrecision
    documented["AP, equally sure"] = unranked
    documented["confidence >= t"] = by_threshold
    documented["used with one box"] = operating_points
    rows = [[name, " ".join(_paragraph(what).split())] for name, what in documented.items()]
    return Sheet("what the numbers mean", ["number", "meaning"], rows, words=True)


def _paragraph(documented: object) -> str:
    return (documented.__doc__ or "").split("\n\n")[0]


def _main(results: Sequence[Result]) -> Sheet:
    rows = []
    for row in results:
        scores, sure = row.scores(), row.sure("mean_iou")
        bounds = f"{number(sure.value)} [{number(sure.low)}, {number(sure.high)}]"
        rows.append([called(row, results), bounds, *(number(scores[name]) for name in SHOWN)])
    head = ["row", "mean IoU [95 %]", *SHOWN.values()]
    if len({_size(row) for row in results}) == 1:
        return Sheet(_size(results[0]), head, rows)
    rows = [[*cells, _size(row)] for cells, row in zip(rows, results, strict=True)]
    return Sheet("rows about different photos, which compare with nothing", [*head, "of"], rows)


def _size(row: Result) -> str:
    shown = f", boxes of confidence >= {row.threshold:g}" if row.threshold else ""
    return f"{len(row.answers.ids)} photos, {len(row.answers.truth)} true boxes{shown}"


def _flags(results: Sequence[Result]) -> list[Sheet]:
    """The starred rows."""
    rows = [
        [called(row, results), "; ".join(row.answers.differs)]
        for row in results
        if row.answers.differs
    ]
    title = "* not comparable: asked otherwise than its card says"
    return [Sheet(title, ["row", "what differs"], rows, words=True)] if rows else []


def _numbers(title: str, shown: Mapping[str, str], results: Sequence[Result]) -> Sheet:
    rows = [
        [called(row, results), *(number(row.scores()[name]) for name in shown)] for row in results
    ]
    return Sheet(title, ["row", *shown.values()], rows)


def _slice(title: str, found: Sequence[Row]) -> Sheet:
    head = list(found[0]) if found else ["nothing found"]
    rows = [[_text(value) for value in row.values()] for row in found]
    return Sheet(title, [NAMES.get(name, name.replace("_", " ")) for name in head], rows)


def _confusion(row: Result, called_so: str) -> Sheet:
    counts = confusion(row.answers, row.pairing)
    names = [*LABELS, "nothing"]
    rows = [[name, *map(str, line)] for name, line in zip(names, counts, strict=True)]
    return Sheet(
        f"{called_so}, labels of boxes at IoU 0.5: true down, found across", ["", *names], rows
    )


def _text(value: float | str) -> str:
    return number(value) if isinstance(value, float) else str(value)
