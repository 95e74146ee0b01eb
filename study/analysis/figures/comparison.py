"""Draws two studies side by side: their metric over common cells, with intervals over seeds."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from study.analysis.figures.style import INK, LINES, StudyFigure, caption, house_style, label_plainly, legend_below
from study.analysis.statistics.anova import FEWEST_SEEDS_FOR_INTERVALS
from study.analysis.statistics.comparison import StudyComparison
from study.analysis.statistics.sensitivity import CAP


def draw_comparison(found: StudyComparison) -> Figure:
    """The second study's cells against the first's, and their differences in rising order with intervals.

    Raises ValueError where no cell has a finite value in both.
    """
    frame = found.frame[np.isfinite(found.frame["difference"])].sort_values("difference", ignore_index=True)
    both = frame[np.isfinite(frame["first"]) & np.isfinite(frame["second"])]
    if both.empty:
        raise ValueError(f"no common cell has a finite {found.metric.name} in both studies: there is nothing to draw")
    first, second = found.names
    with house_style():
        figure = StudyFigure(figsize=(8.6, 4.6), layout=ConstrainedLayoutEngine(wspace=0.06))
        left, right = figure.subplots(1, 2)
        held = both[["first", "second"]].clip(upper=CAP if found.metric.scale == "ratio" else None)
        left.plot(held["first"], held["second"], "o", color=LINES[1]["color"], markersize=4, alpha=0.8)
        left.axline((1, 1) if found.relative else (0, 0), slope=1, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        left.set_xlabel(f"{first}: {found.metric.title.lower()}")
        left.set_ylabel(f"{second}: {found.metric.title.lower()}")
        place = np.arange(len(frame))
        right.vlines(place, frame["low"], frame["high"], color=LINES[1]["color"], linewidth=1.2)
        right.plot(place, frame["difference"], "o", color=INK, markersize=3)
        right.axhline(found.neutral, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        right.set_xlabel("common cells, in rising order")
        right.set_xticks([])
        right.set_ylabel(f"{second} / {first}" if found.relative else f"{second} - {first}")
        if found.relative:
            left.set_xscale("log")
            left.set_yscale("log")
            right.set_yscale("log")
            for axis in (left.xaxis, left.yaxis, right.yaxis):
                label_plainly(axis)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#ececec", linewidth=0.6)
        bars = "95 % intervals" if len(found.seeds) >= FEWEST_SEEDS_FOR_INTERVALS else "lowest to highest seed"
        said = f"{len(found.frame)} common cells, {len(found.seeds)} common seeds, training set"
        if missing := len(found.frame) - len(frame):
            said += f"; {missing} without a value in both are not shown"
        if found.metric.scale == "ratio":
            said += f"; ratios above {CAP:g}, and what diverged, count as {CAP:g}"
        legend_below(
            figure,
            [Line2D([], [], color=LINES[1]["color"], linewidth=1.2), Line2D([], [], color=INK, linestyle=(0, (2, 2)))],
            [bars, "equal"],
            caption(figure, f"{said}."),
            ncols=2,
        )
        figure.suptitle(f"{second} against {first}: {found.metric.title.lower()}", fontweight="bold")
    return figure
