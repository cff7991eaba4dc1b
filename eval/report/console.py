"""What the command prints: tables for people, and one line of JSON for programs."""

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eval.report.results import Report, best, called, differences
from eval.report.table import Sheet


def show(sheets: Sequence[Sheet]) -> None:
    """Prints tables."""
    console = Console()
    if not console.is_terminal:
        console.width = 160  # into a file or a pipe, where nothing need be squeezed
    for sheet in sheets:
        table = Table(title=sheet.title, box=box.SIMPLE)
        for number, heading in enumerate(sheet.head):
            left = number == 0 or sheet.words
            table.add_column(heading, justify="left" if left else "right", overflow="fold")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def line(report: Report) -> str:
    """Everything as one line of JSON; what is unknown is null."""
    results = report.results
    perturbed = [row.record() | {"perturb": row.perturb} for row in report.perturbed]
    found = {
        "best": called(best(results), results),
        "results": [row.record() for row in results],
        "differences": [entry.record() for entry in differences(results)],
        "perturbed": perturbed,
    }
    return json.dumps(known(found))


def known(value: Any) -> Any:
    """The same with None for every number that is not finite, which JSON and CSV cannot say."""
    if isinstance(value, dict):
        return {key: known(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [known(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value
