"""The curves of a report, as SVG to stand inside its page."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from io import StringIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.average_precision import RECALL_POINTS
from eval.evaluate import Result, best
from eval.metrics import best as best_iou
from eval.slices import calibration, operating_points

GRAY = "#8a8f98"


def charts(results: Sequence[Result]) -> dict[str, str]:
    """SVG by title; curves over checkpoints only where there are some."""
    row = best(results)
    found = {
        "IoU of each true box": _drawn(lambda axes: _histogram(axes, results)),
        f"{row.name}: precision and recall at IoU 0.5": _drawn(lambda axes: _recall(axes, row)),
        f"{row.name}: is it as sure as it is right?": _drawn(lambda axes: _calibration(axes, row)),
        f"{row.name}: used with one sure box": _drawn(lambda axes: _operating(axes, row)),
    }
    if any(row.step is not None for row in results):
        found = {"Over checkpoints": _drawn(lambda axes: _curves(axes, results))} | found
    return found


def _drawn(draw: Callable[[Axes], None]) -> str:
    """A figure of its own, without pyplot, which keeps state."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8eaee", linewidth=0.8)
    axes.set_axisbelow(True)
    draw(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    text = StringIO()
    figure.savefig(text, format="svg")
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _curves(axes: Axes, results: Sequence[Result]) -> None:
    runs: dict[str, list[Result]] = defaultdict(list)
    for row in results:
        if row.step is not None:
            runs[row.run].append(row)
        else:
            height = row.scores()["mean_iou"]
            axes.axhline(height, color=GRAY, linestyle="--", label=f"{row.name}, mean IoU")
    for run, rows in runs.items():
        steps, sure = [row.step or 0 for row in rows], [row.sure("mean_iou") for row in rows]
        (line,) = axes.plot(steps, [at.value for at in sure], "o-", label=f"{run}, mean IoU")
        low, high = [at.low for at in sure], [at.high for at in sure]
        axes.fill_between(steps, low, high, alpha=0.12, color=line.get_color(), linewidth=0)
        f1 = [row.scores()["f1@0.5"] for row in rows]
        axes.plot(steps, f1, "s:", color=line.get_color(), label=f"{run}, F1@.5")
    axes.set(xlabel="step", ylim=(0, 1.02))


def _histogram(axes: Axes, results: Sequence[Result]) -> None:
    rows = [results[0]] if best(results) is results[0] else [results[0], best(results)]
    values = [row.pairing.per_true(best_iou) for row in rows]
    axes.hist(values, bins=10, range=(0, 1), label=[row.name for row in rows])
    axes.set(xlabel="IoU of the best found box", ylabel="true boxes")


def _recall(axes: Axes, row: Result) -> None:
    axes.plot(RECALL_POINTS, row.precision.curve)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))


def _calibration(axes: Axes, row: Result) -> None:
    bins = calibration(row.answers, row.pairing)
    axes.plot([0, 1], [0, 1], "--", color=GRAY, label="as sure as right")
    sure, right = [at["confidence"] for at in bins], [at["precision"] for at in bins]
    axes.plot(sure, right, "o-", label="boxes, ten bins")
    axes.set(xlabel="confidence", ylabel="share matched at IoU 0.5", xlim=(0, 1.02), ylim=(0, 1.02))


def _operating(axes: Axes, row: Result) -> None:
    points = operating_points(row.answers, row.pairing)
    axes.plot([at["coverage"] for at in points], [at["precision"] for at in points], "o-")
    for at in points[::3]:
        axes.annotate(f"{at['confidence']:.1f}", (at["coverage"], at["precision"]), fontsize=8)
    axes.set(xlabel="coverage", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
