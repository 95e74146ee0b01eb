"""Figure of a metric along each axis through its best cell: the cost of changing a single parameter."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from study.analysis.figures.picture import FigureOptions, Picture, cell_in_the_middle
from study.analysis.figures.style import (
    INK,
    LINES,
    RC,
    SPLIT_LABEL,
    STAR,
    StudyFigure,
    axis_label,
    caption,
    cell_label,
    house_style,
    in_short_lines,
    label_plainly,
    label_values,
    legend_below,
    number_label,
    shown_ticks,
    turned_height,
)
from study.analysis.statistics.anova import MIN_SEEDS_FOR_INTERVALS, student_interval
from study.analysis.statistics.cells import CellSummary, Replicates, rising, value_key
from study.analysis.statistics.shown_axes import one_value_each
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import Metric

_SMALLEST_SPAN = 0.01
"""Span of numbers, relative to them, below which a panel gets no scale of its own."""
_MAX_WRITTEN = 8
"""Largest number of values of an axis where the points of both sets outside the scale get their numbers."""
_MARGIN = 0.06
"""Free space at both ends of a scale, as a part of it."""


def draw_slices(data: StudyData, options: FigureOptions) -> Picture:
    """Draw one panel per axis that varies: the metric at its values, other axes as in the recommended cell.

    Points are medians over seeds. From five seeds on, bars are 95 % intervals of the mean (of the log, for a ratio or a
    loss) by Student's t; with fewer, they reach from the lowest to the highest seed. An interval is that of one cell
    alone: it holds far less often for the best of many cells, which luck helped to choose (`docs/statistics.md`). A
    cell without a finite median is a cross on the upper edge (on the lower edge if higher is better). A point outside
    the scale is an arrow on the edge with its value. All panels share one scale, but for panels whose numbers span less
    than a third of it: these have a scale of their own. Raises ValueError if no axis varies or no cell is complete.
    """
    name, metric, best = cell_in_the_middle(data, options.metric, options.at)
    varying = {key: rising(values) for key, values in data.axes.items() if len(values) > 1 and key not in options.at}
    if not varying:
        raise ValueError(f"slices need an axis with two values or more; {one_value_each(data.axes)}")
    frame = pd.DataFrame(
        [
            {"axis": axis, "split": split or "", **cell.parameters, **_summary(cell, metric)}
            for axis, values in varying.items()
            for split in metric.splits
            for cell in _along(data, metric, split, best.parameters, axis, values)
        ]
    )
    splits = ["train", "test"] if metric.split else [""]
    with house_style():
        labels_of = {axis: _labels(values, 2.5) for axis, values in varying.items()}
        width = max(2.5 * len(varying) + 0.9, 5.0)
        height = 3.9 + max(turned_height(values, room_in) for _, values, room_in in labels_of.values())
        figure = StudyFigure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.04))
        panels = figure.subplots(1, len(varying), squeeze=False)[0]
        drawn = [
            (axes, frame[(frame["axis"] == axis) & (frame["split"] == split)], k)
            for axes, axis in zip(panels, varying, strict=True)
            for k, split in enumerate(splits)
        ]
        for axes, cells, k in drawn:
            _draw_slice(axes, cells, metric, k, len(splits))
        for axes, (axis, values) in zip(panels, varying.items(), strict=True):
            x_best = [value_key(value) for value in values].index(value_key(best.parameters[axis]))
            axes.plot(x_best, best.centre, **STAR, markersize=10, zorder=6)
            label_values(axes.xaxis, *labels_of[axis])
            axes.set_xlabel(axis_label(axis))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#ececec", linewidth=0.6)
        apart = set_scales(panels, [frame[frame["axis"] == axis] for axis in varying], metric)
        beyond = sum(_draw_beyond(axes, cells, k, len(splits)) for axes, cells, k in drawn)
        for axes in panels:
            if metric.scale in ("ratio", "signed"):
                axes.axhline(float(metric.scale == "ratio"), color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        panels[0].set_ylabel(in_short_lines(metric.meaning))
        crosses = bool(np.isinf(frame["centre"]).any())
        _draw_legend(figure, data, metric, name, best, crosses=crosses, beyond=beyond > 0, apart=apart)
        figure.suptitle(f"{data.title}: {metric.title.lower()} around one cell", fontweight="bold")
    return Picture(options.stem("slices"), figure, frame)


def _labels(values: Sequence[Any], width_in: float) -> tuple[NDArray[np.intp], list[Any], float]:
    """Return the places and values of a panel's tick labels, at most 8, and the room between them in inches."""
    shown = shown_ticks(len(values), 8)
    return shown, [values[k] for k in shown], 0.9 * width_in / len(shown)


def _along(
    data: StudyData, metric: Metric, split: str | None, best: dict[str, Any], axis: str, values: list[Any]
) -> list[CellSummary]:
    """Summarise the cells along one axis, with every other axis as in the best cell."""
    grid = {key: (values if key == axis else [value]) for key, value in best.items()}
    replicates = Replicates(data.table, grid, data.seeds)
    return list(replicates.summaries(metric.column(split), higher_is_better=metric.higher_is_better))


def _summary(cell: CellSummary, metric: Metric) -> dict[str, Any]:
    """Return centre, interval and state of a cell; the interval is over the seeds that have a finite value."""
    values = np.array([value for value in cell.values if math.isfinite(value)])
    low = high = math.nan
    if len(values) >= MIN_SEEDS_FOR_INTERVALS:
        logarithmic = metric.scale in ("ratio", "log") and bool((values > 0).all())
        bounds = student_interval(np.log(values) if logarithmic else values)
        low, high = (float(np.exp(bound) if logarithmic else bound) for bound in bounds)
    elif len(values) > 1:
        low, high = float(values.min()), float(values.max())
    return {"centre": cell.centre, "low": low, "high": high, "n_ok": cell.n_ok, "state": cell.state}


def _places(cells: pd.DataFrame, k: int, n_splits: int) -> NDArray[np.float64]:
    """Return where the points lie to the right: those of two sets are moved apart."""
    return np.arange(len(cells), dtype=np.float64) + (0.01 * len(cells) * (2 * k - 1) if n_splits > 1 else 0.0)


def _draw_slice(axes: Axes, cells: pd.DataFrame, metric: Metric, k: int, n_splits: int) -> None:
    x = _places(cells, k, n_splits)
    centre = cells["centre"].to_numpy(dtype=np.float64)
    finite = np.isfinite(centre)
    look = LINES[k + 1]
    axes.plot(x, np.where(finite, centre, np.nan), **look, marker="os"[k], markersize=4, linewidth=1.1, zorder=3)
    low, high = (cells[side].to_numpy(dtype=np.float64) for side in ("low", "high"))
    axes.vlines(x[finite], low[finite], high[finite], color=look["color"], linewidth=1.3, zorder=2)
    infinite: NDArray[np.float64] = x[np.isinf(centre)]
    edge = np.full(len(infinite), 0.03 if metric.higher_is_better else 0.97)
    axes.plot(infinite, edge, "x", color=look["color"], markersize=5, transform=axes.get_xaxis_transform())


def set_scales(panels: Sequence[Axes], frames: Sequence[pd.DataFrame], metric: Metric) -> bool:
    """Set the scales of the panels, and return True if some have one of their own.

    A scale is logarithmic for ratios and losses, and then ends where cells are a hundred times as bad as the best. A
    panel has a scale of its own if its numbers span less than a third of the shared scale, so that a small effect can
    be seen beside a large one; but not if they span less than one per cent, which no scale should make look large.

    Args:
        panels: One panel per axis, with its points drawn.
        frames: Numbers of each panel: centres and ends of bars.
        metric: Metric that is shown.
    """
    logarithmic = metric.scale in ("ratio", "log")
    spans = [_span(frame, logarithmic) for frame in frames]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    if logarithmic:
        best = min(float(frame["centre"][frame["centre"] > 0].min()) for frame in frames)
        low, high = max(low, math.log(best / 2)), min(high, math.log(100 * best))
    smallest = _SMALLEST_SPAN if logarithmic else _SMALLEST_SPAN * max(abs(low), abs(high))
    apart = [
        len(panels) > 1 and smallest < span[1] - span[0] < (high - low) / 3 and low <= span[0] and span[1] <= high
        for span in spans
    ]
    shared_labels = False
    for axes, span, alone in zip(panels, spans, apart, strict=True):
        start, end = span if alone else (low, high)
        margin = _MARGIN * (end - start) or _SMALLEST_SPAN * (1.0 if logarithmic else abs(end) or 1.0)
        start, end = start - margin, end + margin
        if logarithmic:
            axes.set_yscale("log")
        axes.set_ylim((math.exp(start), math.exp(end)) if logarithmic else (start, end))
        if logarithmic:
            label_plainly(axes.yaxis)
        if alone:
            axes.set_title("scale of its own", loc="left", fontstyle="italic", fontsize=RC["ytick.labelsize"])
        else:
            axes.tick_params(labelleft=not shared_labels)
            shared_labels = True
    return any(apart)


def _span(frame: pd.DataFrame, logarithmic: bool) -> tuple[float, float]:
    """Return the smallest and the largest of the finite numbers, or their logarithms."""
    numbers = frame[["centre", "low", "high"]].to_numpy(dtype=np.float64)
    numbers = numbers[np.isfinite(numbers) & ((numbers > 0) | (not logarithmic))]
    low, high = float(numbers.min()), float(numbers.max())
    return (math.log(low), math.log(high)) if logarithmic else (low, high)


def _draw_beyond(axes: Axes, cells: pd.DataFrame, k: int, n_splits: int) -> int:
    """Mark points outside the scale by arrows on its edge, with their values; return how many there are.

    In a panel of many values only those of the first set are written, because the others would lie over them.
    """
    low, high = axes.get_ylim()
    centre = cells["centre"].to_numpy(dtype=np.float64)
    outside = np.isfinite(centre) & ((centre < low) | (centre > high))
    edge, colour = axes.get_xaxis_transform(), LINES[k + 1]["color"]
    for x, y in zip(_places(cells, k, n_splits)[outside], centre[outside], strict=True):
        height, marker, away, side = (0.98, "^", -7, "top") if y > high else (0.02, "v", 7, "bottom")
        axes.plot(x, height, marker, color=colour, markersize=5, transform=edge, zorder=5)
        if k == 0 or len(cells) <= _MAX_WRITTEN:
            axes.annotate(
                number_label(y), (x, height), (2 if k else -2, away), xycoords=edge, textcoords="offset points",
                rotation=90, ha="left" if k else "right", va=side, fontsize=6.5, color=colour,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3}, zorder=4,
            )  # fmt: skip
    return int(outside.sum())


def _draw_legend(
    figure: Figure,
    data: StudyData,
    metric: Metric,
    name: str,
    best: CellSummary,
    *,
    crosses: bool,
    beyond: bool,
    apart: bool,
) -> None:
    handles = [Line2D([], [], **STAR, markersize=10)]
    labels = [f"{name}: {cell_label(best.parameters)}"]
    for k, split in enumerate(metric.splits):
        if split:
            handles.append(Line2D([], [], **LINES[k + 1], marker="os"[k], markersize=4))
            labels.append(SPLIT_LABEL[split].lower())
    seeds = len(data.seeds)
    interval = (
        "95 % intervals, each of one cell alone" if seeds >= MIN_SEEDS_FOR_INTERVALS else "lowest to highest seed"
    )
    text = "1 seed." if seeds == 1 else f"Points: median over {seeds} seeds; bars: {interval}."
    text += " Other axes as in the cell with the star."
    if crosses:
        text += " Cross: no finite median."
    if beyond:
        handles.append(Line2D([], [], linestyle="none", marker="^", color=INK, markersize=5))
        labels.append("outside the scale, with its value")
    if apart:
        text += " Panels share one scale, unless they say otherwise."
    fits = sum(map(len, labels[:3])) < 13 * figure.get_figwidth() - 20  # an inch holds about 13 letters, a mark takes 6
    labels = [caption(figure, label) for label in labels]
    legend_below(figure, handles, labels, caption(figure, text), ncols=3 if fits else 1)
