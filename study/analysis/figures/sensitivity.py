"""Figure of a metric's sensitivity: shares as bars with their intervals, and the metric along each axis."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from study.analysis.figures.style import (
    INK,
    LINES,
    SPLIT_LABEL,
    StudyFigure,
    axis_label,
    caption,
    house_style,
    in_short_lines,
    label_plainly,
    label_values,
    legend_below,
    setting_label,
    shown_ticks,
    turned_height,
)
from study.analysis.statistics.anova import Decomposition
from study.analysis.statistics.sensitivity import Curve, Sensitivity

_BAR, _NOISE = "#0072b2", "#d9d9d9"


def draw_sensitivity(result: Sensitivity, *, title: str) -> Figure:
    """Draw the shares of the metric and, if replicates diverged, of divergence as bars; below them, effect curves.

    Raises ValueError with the reason if there are no shares.
    """
    if result.shares is None:
        raise ValueError(result.unavailable)
    both = [("Metric", result.shares)]
    if result.diverged is not None:
        both.append(("Divergence", result.diverged))
    bars = 0.27 * len(result.shares.shares) + 0.7
    width = max(3.1 * len(both) + 2.0, 2.3 * len(result.curves) + 0.6, 6.0)
    labels = [[curve.values[k] for k in shown_ticks(len(curve.values), 8)] for curve in result.curves]
    turned = max(turned_height(values, 2.0 / len(values)) for values in labels)
    with house_style():
        figure = StudyFigure(
            figsize=(width, bars + turned + 3.6), layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.1)
        )
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(bars, turned + 2.4))[:, 0]
        for axes, (words, shares) in zip(upper.subplots(1, len(both), squeeze=False).flat, both, strict=True):
            _draw_bars(axes, shares)
            if len(both) > 1:
                axes.set_title(words, loc="left")
        curve_axes = lower.subplots(1, len(result.curves), squeeze=False, sharey=True)[0]
        for axes, curve in zip(curve_axes, result.curves, strict=True):
            _draw_curve(axes, curve, result)
        curve_axes[0].set_ylabel(in_short_lines(result.metric.meaning))
        figure.suptitle(f"{title}: what drives the {result.metric.title.lower()}", fontweight="bold")
        _draw_legend(figure, result)
    return figure


def _draw_bars(axes: Axes, shares: Decomposition) -> None:
    for k, share in enumerate(shares.shares):
        noise = share is shares.noise
        axes.barh(
            k,
            share.share,
            height=0.66,
            color=_NOISE if noise else _BAR,
            edgecolor="#8c8c8c" if noise else _BAR,
            hatch="////" if noise else None,
            linewidth=0.8,
        )
        if share.low is not None and share.high is not None:
            axes.plot([share.low, share.high], [k, k], color=INK, linewidth=1.2, marker="|", markersize=6)
        elif share.leave_one_out:
            axes.plot(share.leave_one_out, [k] * len(share.leave_one_out), color=INK, **_POINTS)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(shares.shares)), [share.name for share in shares.shares])
    axes.invert_yaxis()
    axes.set_xlabel("share of the variance between cells")
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


_POINTS: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 3.4,
    "markerfacecolor": "white",
    "markeredgewidth": 0.9,
}


def _draw_curve(axes: Axes, curve: Curve, result: Sensitivity) -> None:
    x = np.arange(len(curve.values))
    if curve.low is not None and curve.high is not None:
        axes.fill_between(x, curve.low, curve.high, color=LINES[1]["color"], alpha=0.25, linewidth=0)
    axes.plot(x, curve.mean, **LINES[1], marker="o", markersize=3.5)
    if result.metric.scale in ("ratio", "signed"):
        axes.axhline(1.0 if result.metric.scale == "ratio" else 0.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    if result.metric.scale in ("ratio", "log"):
        axes.set_yscale("log")
        label_plainly(axes.yaxis)
    shown = shown_ticks(len(x), 8)
    label_values(axes.xaxis, x[shown], [curve.values[k] for k in shown], 2.0 / len(shown))
    axes.set_xlabel(axis_label(curve.axis))
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_legend(figure: Figure, result: Sensitivity) -> None:
    assert result.shares is not None
    handles: list[Line2D | Patch] = []
    labels: list[str] = []
    if result.shares.noise is not None:
        handles.append(Patch(facecolor=_NOISE, edgecolor="#8c8c8c", hatch="////", linewidth=0.8))
        labels.append(f"noise of {result.seeds} seeds (subtracted from the others)")
    if any(share.low is not None for share in result.shares.shares):
        handles.append(Line2D([], [], color=INK, linewidth=1.2, marker="|", markersize=6))
        labels.append("interval of about 95 % over seeds (jackknife)")
    elif result.shares.terms[0].leave_one_out:
        handles.append(Line2D([], [], color=INK, **_POINTS))
        labels.append("share without one of the seeds")
    if result.curves[0].low is not None:
        handles.append(Patch(facecolor=LINES[1]["color"], alpha=0.25))
        interval = "lowest to highest seed" if result.shares.terms[0].low is None else "interval of about 95 %"
        labels.append(f"mean over the other axes, {interval}")
    parts = [f"{result.cells} cells, {'1 seed' if result.seeds == 1 else f'{result.seeds} seeds'}"]
    if result.split:
        parts.append(SPLIT_LABEL[result.split].lower())
    parts += [setting_label(key, value) for key, value in result.at.items()]
    if result.n_capped or result.n_diverged:
        parts.append(f"{result.n_cells_at_cap} cells have a replicate at the cap of {result.cap:.3g}")
    if result.shares.noise is None:
        parts.append("one seed: the shares contain noise")
    legend_below(
        figure,
        handles,
        labels,
        caption(figure, f"{'; '.join(parts)}."),
        ncols=2 if figure.get_figwidth() > 7 else 1,
    )
