"""The curves of a report, as SVG for its page."""

from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.metrics.average_precision import RECALL_POINTS
from eval.metrics.bootstrap import COMPARED, spread
from eval.metrics.pairing import Photos
from eval.metrics.slices import by_threshold, operating_points
from eval.report.columns import NAMES
from eval.report.results import Report, Result, by_recipe
from nutrition_vl.confidence import reliability
from nutrition_vl.matching import UNMATCHED

GRAY = "#8a8f98"
SHARES: dict[str, Any] = {"xlim": (-0.02, 1.02), "ylim": (-0.02, 1.02)}


def charts(report: Report) -> dict[str, str]:
    """SVG by title; curves over checkpoints only where there are some."""
    row = report.best
    draw: dict[str, Callable[[Axes], None]] = {}
    if any(one.step is not None for one in report.results):
        for name in COMPARED:
            title = f"{NAMES[name]} over checkpoints"
            draw[title] = partial(_curves, results=report.results, name=name)
    draw |= {
        "IoU of each true box": partial(_histogram, report=report),
        "precision and recall at IoU 0.5": partial(_recall, row=row),
        "calibration: confidence against precision": partial(_calibration, row=row),
        "boxes of confidence >= t": partial(_threshold, row=row),
        "used with one box of confidence >= t": partial(_operating, row=row),
    }
    return {title: _svg(one) for title, one in draw.items()}


def _svg(draw: Callable[[Axes], None]) -> str:
    """A figure of its own, without pyplot, which keeps state."""
    figure = Figure(figsize=(5.2, 3.7), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8eaee", linewidth=0.8)
    axes.set_axisbelow(True)
    draw(axes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    text = StringIO()
    figure.savefig(text, format="svg")
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _curves(axes: Axes, results: Sequence[Result], name: str) -> None:
    """One line per run with its 95 % band; runs that differ by seed alone thin, and their mean."""
    flat = [row for row in results if row.step is None]
    for row, style in zip(flat, cycle(("--", ":", "-.")), strict=False):
        axes.axhline(row.scores()[name], color=GRAY, linestyle=style, label=row.name)
    repeated = {key: rows for key, rows in by_recipe(results).items() if len(rows) > 1}
    recipe_of = {row.run: recipe for (recipe, _), rows in repeated.items() for row in rows}
    colours: dict[str, str] = {}
    for run in dict.fromkeys(row.run for row in results if row.step is not None):
        rows = [row for row in results if row.run == run and row.step is not None]
        colour = colours.setdefault(recipe_of.get(run, run), f"C{len(colours)}")
        steps, bounds = [row.step or 0 for row in rows], [row.interval(name) for row in rows]
        values, low, high = zip(*((at.value, at.low, at.high) for at in bounds), strict=True)
        if run in recipe_of:
            axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.5)
            continue
        axes.plot(steps, values, "o-", color=colour, label=run)
        axes.fill_between(steps, low, high, alpha=0.12, color=colour, linewidth=0)
    for recipe in dict.fromkeys(recipe_of.values()):
        _mean(axes, recipe, repeated, name, colours[recipe])
    axes.set(xlabel="step", ylabel=NAMES[name])


def _mean(
    axes: Axes, recipe: str, groups: dict[tuple[str, int], list[Result]], name: str, colour: str
) -> None:
    """Mean and standard deviation of a recipe over its seeds."""
    steps = sorted(step for other, step in groups if other == recipe)
    values = [spread([row.scores()[name] for row in groups[recipe, step]]) for step in steps]
    means, deviations = zip(*values, strict=True)
    seeds = max(len(groups[recipe, step]) for step in steps)
    label = f"{recipe}, {seeds} seeds"
    axes.errorbar(steps, means, deviations, fmt="o-", color=colour, capsize=3, label=label)


def _histogram(axes: Axes, report: Report) -> None:
    first, row = report.results[0], report.best
    rows = [first] if row is first else [first, row]
    values = [row.pairing.per_true(Photos.best_iou) for row in rows]
    axes.hist(values, bins=10, range=(0, 1), label=[report.name(row) for row in rows])
    axes.set(xlabel="IoU of the best predicted box", ylabel="true boxes")


def _recall(axes: Axes, row: Result) -> None:
    axes.plot(RECALL_POINTS, row.precision.curve)
    axes.set(xlabel="recall", ylabel="precision", **SHARES)


def _calibration(axes: Axes, row: Result) -> None:
    axes.plot([0, 1], [0, 1], "--", color=GRAY, label="perfect calibration")
    (answers, pairing) = row.all_boxes
    right = pairing.matched(0.5) != UNMATCHED
    if bins := reliability(np.asarray(answers.predictions.confidence), right):
        counts, confidence, precision = map(np.array, zip(*bins, strict=True))
        axes.plot(confidence, precision, color="C0")
        size = 10 + 200 * counts / counts.sum()
        axes.scatter(confidence, precision, size, label="boxes in ten bins, by their number")
    axes.set(xlabel="confidence", ylabel="share matched at IoU 0.5", **SHARES)


def _threshold(axes: Axes, row: Result) -> None:
    points = by_threshold(*row.all_boxes)
    for name in ("false_alarm_rate", "precision@0.5", "recall@0.5"):
        values = [at[name] for at in points]
        axes.plot([at["confidence"] for at in points], values, "o-", label=NAMES[name])
    axes.set(xlabel="t", ylabel="share", **SHARES)


def _operating(axes: Axes, row: Result) -> None:
    points = operating_points(*row.all_boxes)
    axes.plot([at["coverage"] for at in points], [at["precision"] for at in points], "o-")
    labels = {(at["coverage"], at["precision"]): f"{at['confidence']:.1f}" for at in points}
    for place, confidence in labels.items():  # of equal ones the highest
        axes.annotate(confidence, place, (0, -12), textcoords="offset points", fontsize=8)
    axes.set(xlabel="coverage", ylabel="precision", **SHARES)
