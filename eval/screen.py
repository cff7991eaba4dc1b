"""What the command prints: tables for people, and one line of JSON for programs."""

import json
from math import isfinite
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eval.evaluate import Report, best, called, differences
from eval.tables import summary


def show(report: Report) -> None:
    """Prints the rows and their differences as tables."""
    console = Console()
    if not console.is_terminal:
        console.width = 160  # into a file or a pipe, where nothing need be squeezed
    for sheet in summary(report):
        table = Table(title=sheet.title, box=box.SIMPLE)
        for heading in sheet.head:
            left = heading == sheet.head[0]
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
