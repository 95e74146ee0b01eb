"""Figure of a metric along each axis through its best cell: the cost of changing a single parameter."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from study.analysis.figures.picture import FigureOptions, Picture, best_cell
from study.analysis.figures.style import (
    INK,
    LINES,
    SPLIT_LABEL,
    STAR,
    StudyFigure,
    axis_label,
    caption,
    cell_label,
    house_style,
    label_plainly,
    legend_below,
    shown_ticks,
    value_label,
)
from study.analysis.statistics.anova import MIN_SEEDS_FOR_INTERVALS, student_interval
from study.analysis.statistics.cells import CellSummary, Replicates, rising, value_key
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import Metric


def draw_slices(data: StudyData, options: FigureOptions) -> Picture:
    """Draw one panel per axis that varies: the metric at its values, with every other axis as in the best cell.

    Points are medians over seeds. From five seeds on, bars are 95 % intervals of the mean (of the log, for a ratio or a
    loss) by Student's t; with fewer, they reach from the lowest to the highest seed. An interval is that of one cell
    alone: it holds far less often for the best of many cells, which luck helped to choose (`docs/statistics.md`). A
    cell without a finite median is a cross on the upper edge (on the lower edge if higher is better). Raises ValueError
    if no axis varies or no cell is complete.
    """
    metric, best = best_cell(data, options.metric, options.at)
    varying = {key: rising(values) for key, values in data.axes.items() if len(values) > 1 and key not in options.at}
    if not varying:
        raise ValueError(f"slices need an axis with two values or more; {', '.join(data.axes)} have one each")
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
        width = max(2.5 * len(varying) + 0.9, 5.0)
        figure = StudyFigure(figsize=(width, 3.9), layout=ConstrainedLayoutEngine(wspace=0.04))
        panels = figure.subplots(1, len(varying), squeeze=False, sharey=True)[0]
        for axes, (axis, values) in zip(panels, varying.items(), strict=True):
            for k, split in enumerate(splits):
                cells = frame[(frame["axis"] == axis) & (frame["split"] == split)]
                _draw_slice(axes, cells, metric, k, len(splits))
            x_best = [value_key(value) for value in values].index(value_key(best.parameters[axis]))
            axes.plot(x_best, best.centre, **STAR, markersize=10, zorder=6)
            shown = shown_ticks(len(values), 8)
            axes.set_xticks(shown, [value_label(values[i]) for i in shown])
            axes.set_xlabel(axis_label(axis))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#ececec", linewidth=0.6)
        _scale(panels[0], metric)
        for axes in panels:
            if metric.scale in ("ratio", "signed"):
                axes.axhline(float(metric.scale == "ratio"), color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        panels[0].set_ylabel(metric.meaning.replace(", ", ",\n"))
        _draw_legend(figure, data, metric, best, crosses=bool(np.isinf(frame["centre"]).any()))
        figure.suptitle(f"{data.title}: {metric.title.lower()} around the best cell", fontweight="bold")
    return Picture(options.stem("slices"), figure, frame)


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


def _draw_slice(axes: Axes, cells: pd.DataFrame, metric: Metric, k: int, n_splits: int) -> None:
    x = np.arange(len(cells)) + (0.01 * len(cells) * (2 * k - 1) if n_splits > 1 else 0.0)
    centre = cells["centre"].to_numpy(dtype=np.float64)
    finite = np.isfinite(centre)
    look = LINES[k + 1]
    axes.plot(x, np.where(finite, centre, np.nan), **look, marker="os"[k], markersize=4, linewidth=1.1, zorder=3)
    low, high = (cells[side].to_numpy(dtype=np.float64) for side in ("low", "high"))
    axes.vlines(x[finite], low[finite], high[finite], color=look["color"], linewidth=1.3, zorder=2)
    infinite: NDArray[np.float64] = x[np.isinf(centre)]
    edge = np.full(len(infinite), 0.03 if metric.higher_is_better else 0.97)
    axes.plot(infinite, edge, "x", color=look["color"], markersize=5, transform=axes.get_xaxis_transform())


def _scale(axes: Axes, metric: Metric) -> None:
    """Set a logarithmic scale for ratios and losses; it ends where cells are a hundred times as bad as the best."""
    if metric.scale not in ("ratio", "log"):
        return
    axes.set_yscale("log")
    points = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.get_lines()])
    low, high = axes.get_ylim()
    best = float(np.nanmin(points[points > 0]))
    axes.set_ylim(max(low, best / 2), min(high, 100 * best))
    label_plainly(axes.yaxis)


def _draw_legend(figure: Figure, data: StudyData, metric: Metric, best: CellSummary, *, crosses: bool) -> None:
    handles = [Line2D([], [], **STAR, markersize=10)]
    labels = [f"best cell: {cell_label(best.parameters)}"]
    for k, split in enumerate(metric.splits):
        if split:
            handles.append(Line2D([], [], **LINES[k + 1], marker="os"[k], markersize=4))
            labels.append(SPLIT_LABEL[split].lower())
    seeds = len(data.seeds)
    interval = (
        "95 % intervals, each of one cell alone" if seeds >= MIN_SEEDS_FOR_INTERVALS else "lowest to highest seed"
    )
    text = "1 seed." if seeds == 1 else f"Points: median over {seeds} seeds; bars: {interval}."
    text += " Other axes as in the best cell."
    if crosses:
        text += " Cross: no finite median."
    legend_below(figure, handles, labels, caption(figure, text), ncols=3)
