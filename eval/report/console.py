"""Output of the command: tables for people, and one line of JSON for programs."""

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eval.report.results import Report
from eval.report.table import Sheet


def show(sheets: Sequence[Sheet]) -> None:
    """Prints tables."""
    console = Console()
    if not console.is_terminal:
        console.width = 160  # a file or a pipe needs no squeezed columns
    for sheet in sheets:
        table = Table(title=sheet.title, box=box.SIMPLE)
        for number, heading in enumerate(sheet.head):
            left = number == 0 or sheet.words
            table.add_column(heading, justify="left" if left else "right", overflow="fold")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def json_line(report: Report) -> str:
    """Everything as one line of JSON; numbers that are not finite become null."""
    differences = [
        {
            "first": first,
            "second": second,
            "measure": measure,
            "difference": interval.value,
            "difference_95": interval.bounds,
            "distinguishable": not interval.holds_zero,
        }
        for first, second, measure, interval in report.differences
    ]
    records = {
        "best": report.name(report.best),
        "results": [row.record() for row in report.results],
        "differences": differences,
        "perturbed": [row.record() | {"perturb": row.perturb} for row in report.perturbed],
    }
    return json.dumps(finite(records))


def finite(value: Any) -> Any:
    """The same with None for every number that is not finite, as JSON and CSV have none."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value
