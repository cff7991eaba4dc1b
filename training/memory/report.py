"""The memory report: rows as JSON, one Markdown table and one chart."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from matplotlib.figure import Figure

from nutrition_vl.files import git_commit, markdown_table, write_atomically
from training.memory.rows import Row
from training.memory.techniques import TECHNIQUES
from training.run.folder import PACKAGES

COLUMNS = "technique", "peak GB", "reserved GB", "s per step", "photos/s", "loss", "forecast GB"
TEXT = """# Memory and speed of training {base}

{machine}; {versions}; commit {commit}.
`{command}`

GB are 10^9 bytes: PyTorch's on a GPU, the process's on a CPU. Seconds are the median step's, data
loading included. Every row is a process of its own.

{table}

![peak memory](memory.png)
"""


def table(rows: Sequence[Row]) -> str:
    """Returns the Markdown table, one line per row."""
    return markdown_table(COLUMNS, map(_cells, rows))


def _cells(row: Row) -> tuple[str, ...]:
    name, forecast = TECHNIQUES[row.key][0], f"{sum(row.forecast_gb.values()):.2f}"
    if row.problem:
        return name, row.problem, "", "", "", "", forecast
    memory = f"{row.peak_gb:.2f}", f"{row.reserved_gb:.2f}"
    speed = f"{row.seconds:.3f}", f"{row.photos_per_second:.2f}"
    return name, *memory, *speed, f"{row.losses[-1]:.4f}", forecast


def write(rows: Sequence[Row], out: Path, **facts: str) -> None:
    """Writes memory.json, memory.md and memory.png; facts are base, machine and command."""
    out.mkdir(parents=True, exist_ok=True)
    facts["versions"] = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    facts["commit"] = git_commit()
    report = facts | {"rows": [asdict(row) for row in rows]}
    write_atomically(out / "memory.json", json.dumps(report, indent=1) + "\n")
    write_atomically(out / "memory.md", TEXT.format(**facts, table=table(rows)))
    chart(rows).savefig(out / "memory.png", dpi=150)


def chart(rows: Sequence[Row]) -> Figure:
    """Returns peak memory per row as bars, with the seconds per step next to them."""
    rows = [row for row in rows if not row.problem][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.38 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="GB at the peak of a step")
    bars = axes.barh([TECHNIQUES[row.key][0] for row in rows], [row.peak_gb for row in rows])
    labels = [f"{row.peak_gb:.1f} GB, {row.seconds:.2f} s" for row in rows]
    axes.bar_label(bars, labels, padding=4, fontsize=8)
    axes.margins(x=0.25)
    return figure
