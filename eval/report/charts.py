"""The curves of a report, as SVG to stand inside its page."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.metrics.average_precision import RECALL_POINTS
from eval.metrics.bootstrap import COMPARED, spread
from eval.metrics.pairing import Photos
from eval.metrics.slices import by_threshold, calibration, operating_points
from eval.report.results import Result, best, by_recipe, called
from eval.report.table import NAMES

GRAY = "#8a8f98"


def charts(results: Sequence[Result]) -> dict[str, str]:
    """SVG by title; curves over checkpoints only where there are some."""
    row = best(results)
    found = {
        "IoU of each true box": _drawn(lambda axes: _histogram(axes, results)),
        "precision and recall at IoU 0.5": _drawn(lambda axes: _recall(axes, row)),
        "calibration: is it as sure as it is right?": _drawn(lambda axes: _calibration(axes, row)),
        "boxes of confidence >= t": _drawn(lambda axes: _threshold(axes, row)),
        "used with one box of confidence >= t": _drawn(lambda axes: _operating(axes, row)),
    }
    if any(row.step is not None for row in results):
        curves = {
            f"{NAMES[name]} over checkpoints": _drawn(partial(_curves, results=results, name=name))
            for name in COMPARED
        }
        found = curves | found
    return found


def _drawn(draw: Callable[[Axes], None]) -> str:
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
    """A line a run with its 95 % band; runs that differ by seed alone thin, and their mean."""
    flat = [row for row in results if row.step is None]
    for row, style in zip(flat, cycle(("--", ":", "-.")), strict=False):
        axes.axhline(row.scores()[name], color=GRAY, linestyle=style, label=row.name)
    repeated = {key: rows for key, rows in by_recipe(results).items() if len(rows) > 1}
    recipe_of = {row.run: recipe for (recipe, _), rows in repeated.items() for row in rows}
    colours: dict[str, str] = {}
    for run, rows in _runs(results).items():
        colour = colours.setdefault(recipe_of.get(run, run), f"C{len(colours)}")
        steps, sure = [row.step or 0 for row in rows], [row.sure(name) for row in rows]
        values = [at.value for at in sure]
        if run in recipe_of:
            axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.5)
            continue
        axes.plot(steps, values, "o-", color=colour, label=run)
        low, high = [at.low for at in sure], [at.high for at in sure]
        axes.fill_between(steps, low, high, alpha=0.12, color=colour, linewidth=0)
    for recipe in dict.fromkeys(recipe_of.values()):
        _mean(axes, recipe, repeated, name, colours[recipe])
    axes.set(xlabel="step", ylabel=NAMES[name])


def _mean(
    axes: Axes, recipe: str, groups: dict[tuple[str, int], list[Result]], name: str, colour: str
) -> None:
    """Mean and standard deviation of a recipe over its seeds."""
    steps = sorted(step for called, step in groups if called == recipe)
    values = [spread([row.scores()[name] for row in groups[recipe, step]]) for step in steps]
    means, deviations = zip(*values, strict=True)
    seeds = max(len(groups[recipe, step]) for step in steps)
    label = f"{recipe}, {seeds} seeds"
    axes.errorbar(steps, means, deviations, fmt="o-", color=colour, capsize=3, label=label)


def _runs(results: Sequence[Result]) -> dict[str, list[Result]]:
    runs: dict[str, list[Result]] = defaultdict(list)
    for row in results:
        if row.step is not None:
            runs[row.run].append(row)
    return runs


def _histogram(axes: Axes, results: Sequence[Result]) -> None:
    rows = [results[0]] if best(results) is results[0] else [results[0], best(results)]
    values = [row.pairing.per_true(Photos.best_iou) for row in rows]
    axes.hist(values, bins=10, range=(0, 1), label=[called(row, results) for row in rows])
    axes.set(xlabel="IoU of the best found box", ylabel="true boxes")


def _recall(axes: Axes, row: Result) -> None:
    axes.plot(RECALL_POINTS, row.precision.curve)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))


def _calibration(axes: Axes, row: Result) -> None:
    bins = calibration(*row.every)
    axes.plot([0, 1], [0, 1], "--", color=GRAY, label="as sure as right")
    sure, right = [at["confidence"] for at in bins], [at["precision"] for at in bins]
    axes.plot(sure, right, color="C0")
    every = sum(at["boxes"] for at in bins)
    size = [10 + 200 * at["boxes"] / every for at in bins]
    axes.scatter(sure, right, size, label="found boxes in ten bins, by their number")
    axes.set(xlabel="confidence", ylabel="share matched at IoU 0.5", xlim=(0, 1.02), ylim=(0, 1.02))


def _threshold(axes: Axes, row: Result) -> None:
    points = by_threshold(*row.every)
    for name in ("false_alarm_rate", "precision@0.5", "recall@0.5"):
        values = [at[name] for at in points]
        axes.plot([at["confidence"] for at in points], values, "o-", label=NAMES[name])
    axes.set(xlabel="t", ylabel="share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _operating(axes: Axes, row: Result) -> None:
    points = operating_points(*row.every)
    axes.plot([at["coverage"] for at in points], [at["precision"] for at in points], "o-")
    named = {(at["coverage"], at["precision"]): f"{at['confidence']:.1f}" for at in points}
    for place, confidence in named.items():  # of equal ones the surest
        axes.annotate(confidence, place, (0, -12), textcoords="offset points", fontsize=8)
    axes.set(xlabel="coverage", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
