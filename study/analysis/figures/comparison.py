"""Figure of two studies side by side: their metric in common cells, with intervals over seeds."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from study.analysis.figures.style import INK, LINES, StudyFigure, caption, house_style, label_plainly, legend_below
from study.analysis.statistics.comparison import StudyComparison
from study.analysis.statistics.sensitivity import CAP


def draw_comparison(comparison: StudyComparison) -> Figure:
    """Draw the second study's cells against the first's, and their sorted differences with intervals for all at once.

    Raises ValueError if no cell has a finite value in both.
    """
    metric, cells = comparison.metric, comparison.frame
    frame = cells[np.isfinite(cells["difference"])].sort_values("difference", ignore_index=True)
    both = frame[np.isfinite(frame["first"]) & np.isfinite(frame["second"])]
    if both.empty:
        raise ValueError(f"no common cell has a finite {metric.name} in both studies: there is nothing to draw")
    first, second = comparison.names
    with house_style():
        figure = StudyFigure(figsize=(8.6, 4.6), layout=ConstrainedLayoutEngine(wspace=0.06))
        left, right = figure.subplots(1, 2)
        capped = both[["first", "second"]].clip(upper=CAP if metric.scale == "ratio" else None)
        left.plot(capped["first"], capped["second"], "o", color=LINES[1]["color"], markersize=4, alpha=0.8)
        start = (1, 1) if comparison.relative else (0, 0)
        left.axline(start, slope=1, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        left.set_xlabel(f"{first}: {metric.title.lower()}")
        left.set_ylabel(f"{second}: {metric.title.lower()}")
        x = np.arange(len(frame))
        lowest, highest = _limits(frame["difference"].to_numpy(), comparison)
        low, high = frame["low"].clip(lower=lowest), frame["high"].clip(upper=highest)
        right.vlines(x, low, high, color=LINES[1]["color"], linewidth=1.2)
        right.plot(x, frame["difference"], "o", color=INK, markersize=3)
        right.axhline(comparison.neutral, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        right.set_xlabel("common cells, sorted by this value")
        right.set_xticks([])
        right.set_ylabel(f"{second} / {first}" if comparison.relative else f"{second} - {first}")
        if comparison.relative:
            left.set_xscale("log")
            left.set_yscale("log")
            right.set_yscale("log")
            for axis in (left.xaxis, left.yaxis, right.yaxis):
                label_plainly(axis)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#ececec", linewidth=0.6)
        seeds = len(comparison.seeds)
        right.set_ylim(lowest, highest)
        text = f"{len(cells)} common cells, {seeds} common seeds, training set"
        if missing := len(cells) - len(frame):
            text += f"; {missing} cells without a value in both studies are not shown"
        if metric.scale == "ratio":
            text += f"; ratios above {CAP:g} and diverged replicates count as {CAP:g}"
        if bool((frame["low"] < lowest).any() or (frame["high"] > highest).any()):
            text += "; intervals that reach further are cut at the edges"
        handles = [Line2D([], [], color=INK, linestyle=(0, (2, 2)))]
        labels = ["no difference"]
        if bool(frame["low"].notna().any()):
            handles.insert(0, Line2D([], [], color=LINES[1]["color"], linewidth=1.2))
            labels.insert(0, "intervals that hold for all cells at once (at least 95 %)")
        else:
            text += "; one seed has no intervals, so no cell is told apart"
        legend_below(
            figure,
            handles,
            labels,
            caption(figure, f"{text}."),
            ncols=2,
        )
        figure.suptitle(f"{second} against {first}: {metric.title.lower()}", fontweight="bold")
    return figure


def _limits(differences: NDArray[np.float64], comparison: StudyComparison) -> tuple[float, float]:
    """Return limits that show every difference, with as much again above and below; intervals can be far longer."""
    values = np.append(differences, comparison.neutral)
    if comparison.relative:
        values = np.log(values)
    lowest, highest = float(values.min()), float(values.max())
    span = max(highest - lowest, 1e-3)
    limits = np.array([lowest - span, highest + span])
    low, high = (np.exp(limits) if comparison.relative else limits).tolist()
    return low, high
