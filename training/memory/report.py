"""The memory report as a table, CSV, Markdown and a picture of stacked bars, from its JSON."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

GB = 1e9
TFLOPS = {"H100": 790, "H200": 790}  # of dense bfloat16 that these cards reach, 989 on paper
COLUMNS = (
    "technique",
    "peak GB",
    "saved GB",
    "reserved GB",
    "before GB",
    "s a step",
    "photos/s",
    "loss",
    "forecast GB",
)
COLOURS = {"weights": "#64748b", "LoRA, gradients, optimiser": "#b45309", "activations": "#0e7490"}
# What the project's first memory plan expected of a 7B at 1 x 4 photos a step, and how the rows by
# key tell it.
ESTIMATES: tuple[tuple[str, float, str, Callable], ...] = (
    ("base in NF4, with what trains on it", 3.5, "GB", lambda rows: rows["trl"]["start"] / GB),
    ("LoRA, r=8 on q and v", 2.1, "million", lambda rows: rows["trl"]["trained"] / 1e6),
    ("activations", 8.0, "GB", lambda rows: (rows["sdpa"]["peak"] - rows["sdpa"]["start"]) / GB),
    ("checkpointing", -4.0, "GB", lambda rows: _change(rows, "checkpoint", "sdpa", "peak") / GB),
    ("its time", 40, "%", lambda rows: _percent(rows, "checkpoint", "sdpa")),
    ("SDPA", -2.0, "GB", lambda rows: _change(rows, "sdpa", "nf4", "peak") / GB),
    (
        "8-bit optimiser",
        -12,
        "MB",
        lambda rows: _change(rows, "adamw8", "checkpoint", "start") / 1e6,
    ),
    ("peak of a step", 9.0, "GB", lambda rows: rows["trl"]["peak"] / GB),
)


def write(report: Mapping[str, Any], out: Path) -> None:
    """Writes memory.json, memory.csv, memory.md, memory.png and losses.png."""
    rows = report["rows"]
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "memory.partial"
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    partial.replace(out / "memory.json")
    (out / "memory.csv").write_text(_csv(rows), encoding="utf-8")
    (out / "memory.md").write_text(markdown(report), encoding="utf-8")
    bars(rows).savefig(out / "memory.png", dpi=150)
    curves(rows).savefig(out / "losses.png", dpi=150)


def cells(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table, one line of COLUMNS for each row; saved is counted from the row before."""
    lines, before = [], None
    for row in rows:
        if row["problem"]:
            lines.append((row["name"], row["problem"], *[""] * (len(COLUMNS) - 2)))
            continue
        saved = "" if before is None else f"{(before - row['peak']) / GB:+.2f}"
        before = row["peak"]
        lines.append(
            (
                row["name"],
                f"{row['peak'] / GB:.2f}",
                saved,
                f"{row['reserved'] / GB:.2f}",
                f"{row['before'] / GB:.2f}",
                f"{row['seconds']:.3f}",
                f"{row['photos_per_second']:.2f}",
                f"{row['losses'][-1]:.4f}",
                f"{sum(row['forecast'].values()) / GB:.2f}",
            )
        )
    return lines


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the table."""
    table = Table(*COLUMNS)
    for line in cells(rows):
        table.add_row(*line)
    Console(width=140).print(table)


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report: the machine, the table, and the first plan's estimates beside it."""
    rows, versions = report["rows"], report["versions"]
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        f"# Memory and speed of training {report['base']}",
        "",
        f"{report['machine']}; {told}; commit {report['commit']}.",
        f"`{report['command']}`",
        "",
        "GB are 10^9 bytes: PyTorch's on a GPU, the process's on the CPU. Seconds are the median "
        "step's, data loading included; saved is against the row before; before is the peak until "
        "the first step: the base loaded, photos seen.",
        "",
        *_table(COLUMNS, cells(rows)),
        "",
        "![peak memory](memory.png) ![losses](losses.png)",
        *[line for note in report["notes"] for line in ("", note)],
        *_limits(report),
        *(_compared(rows) if "7b" in report["base"].lower() else []),
    ]
    return "\n".join(lines) + "\n"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    drawn = [header, ["---"] * len(header), *lines]
    return ["| " + " | ".join(line) + " |" for line in drawn]


def _limits(report: Mapping[str, Any]) -> list[str]:
    """How far each row is from what the card computes in bfloat16, if that is known."""
    speed = next((value for card, value in TFLOPS.items() if card in report["machine"]), None)
    if speed is None:
        return []
    lines = []
    for row in report["rows"]:
        if row["problem"]:
            continue
        # A pass multiplies and adds once for each weight of the layers and each token.
        once = 2 * report["multiplied"] * row["tokens"] * row["photos"] / speed / 1e12
        least = (2 * once, 3 * once)
        lines.append((row["name"], *(f"{row['seconds'] / bound:.2f}" for bound in least)))
    header = ("seconds over the least", "forward and backward", "and computed again")
    return ["", f"## Distance to {speed} TFLOP/s", "", *_table(header, lines)]


def _compared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The estimates whose rows were measured."""
    known = {row["key"]: row for row in rows if not row["problem"]}
    lines = []
    for name, estimate, unit, tell in ESTIMATES:
        try:
            lines.append((name, f"{estimate:g} {unit}", f"{tell(known):.3g} {unit}"))
        except KeyError:  # a row that was not measured
            continue
    if not lines:
        return []
    header = ("", "estimated", "measured")
    return ["", "## What the first plan expected", "", *_table(header, lines)]


def _change(rows: Mapping[str, Any], key: str, before: str, column: str) -> float:
    return rows[key][column] - rows[before][column]


def _percent(rows: Mapping[str, Any], key: str, before: str) -> float:
    return 100 * _change(rows, key, before, "seconds") / rows[before]["seconds"]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(cells(rows))
    return text.getvalue()


def bars(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Peak memory of each row, stacked: what lies there all the time, and what a step adds."""
    rows = [row for row in rows if not row["problem"]][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.38 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="GB at the peak of a step")
    left = [0.0] * len(rows)
    for part, colour in COLOURS.items():
        widths = [_parts(row)[part] / GB for row in rows]
        axes.barh([row["name"] for row in rows], widths, left=left, color=colour, label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, (end, row) in enumerate(zip(left, rows, strict=True)):
        axes.text(end, place, f" {end:.1f} GB, {row['seconds']:.2f} s", va="center", fontsize=8)
    axes.set_xlim(0, 1.25 * max(left, default=1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=len(COLOURS), frameon=False, fontsize=8)
    return figure


def curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The losses of each row, on the same photos from the same start."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for number, row in enumerate(rows):
        if not row["problem"]:
            steps, dashed = range(1, len(row["losses"]) + 1), number % 2  # equal ones are both seen
            axes.plot(steps, row["losses"], "--" if dashed else "-", label=row["name"])
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=7)
    return figure


def _parts(row: Mapping[str, Any]) -> dict[str, float]:
    training = row["forecast"]["training"]
    return dict(
        zip(COLOURS, (row["start"] - training, training, row["peak"] - row["start"]), strict=True)
    )
