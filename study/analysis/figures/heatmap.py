"""Drawing of a study's heatmaps, and writing of figures beside the numbers they show."""

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from study.analysis.figures.style import (
    INK,
    SPLIT_LABEL,
    STAR,
    STATE_LOOK,
    StudyFigure,
    axis_label,
    colour_map,
    colour_norm,
    house_style,
    in_lines,
    label_values,
    label_width,
    legend_below,
    number_label,
    round_ticks,
    setting_label,
    shown_ticks,
    turned_height,
)
from study.analysis.statistics.heatmap_data import HeatmapData, Panel

_MAX_ANNOTATED = (12, 15)
"""Columns and rows of the largest panel that has a number in each cell; in a larger one they would not be readable."""
_MAX_PANEL_IN = 10.0
"""Largest width and height of a panel without numbers, in inches."""
_MAX_OUTLINED = 2500
"""Largest number of cells drawn one by one in vector files; a larger panel is embedded as a picture."""
_MAX_LABELLED = 20
"""Largest number of lines of one level that get labels. Noise gives more, and their labels would hide the cells."""


def draw_heatmaps(data: HeatmapData, *, title: str | None = None) -> Figure:
    """Draw heatmaps as in Figure 3 of Tano et al. 2020: training and test set side by side, y upwards, x to the right.

    All panels share one colour scale. The study's recommended cell has a star, the best cell of a panel a box. Cells
    without a number are hatched by their state. Cells where some seeds have no finite value have a mark in a corner. A
    line separates ratios below 1 from those above.

    Args:
        data: Result of `heatmap_data`.
        title: Text before the metric's name, such as the study's name; none by default.

    Returns:
        A figure that belongs to no window; write it with `save_figure`.
    """
    columns = len(data.metric.splits)
    rows = len(data.panels) // columns
    nx, ny = len(data.x_values), len(data.y_values)
    annotate = nx <= _MAX_ANNOTATED[0] and ny <= _MAX_ANNOTATED[1]
    cell_width, cell_height = 0.47, 0.34
    if not annotate:
        cell_width, cell_height = min(0.2, _MAX_PANEL_IN / nx), min(0.175, _MAX_PANEL_IN / ny)
    panel_width = max(3.0, cell_width * nx)
    width = columns * (panel_width + max(0.0, label_width(data.y_values) - 0.5)) + 1.9
    labels = [data.x_values[k] for k in shown_ticks(nx)]
    turned = turned_height(labels, panel_width / len(labels))
    height = rows * (max(1.8 if ny > 1 else 1.0, cell_height * ny) + 0.65 + turned) + 1.5
    with house_style():
        figure = StudyFigure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.06))
        grid = figure.subplots(rows, columns, squeeze=False)
        for k, (axes, panel) in enumerate(zip(grid.flat, data.panels, strict=True)):
            _draw_panel(axes, panel, data, annotate, panel_width)
            words = [SPLIT_LABEL[panel.split]] if panel.split else []
            words += [setting_label(axis, value) for axis, value in panel.facets.items()]
            axes.set_title(in_lines(words, panel_width / 0.075), loc="left")
            axes.set_xlabel(axis_label(data.x) if k // columns == rows - 1 else "")
            axes.set_ylabel(axis_label(data.y) if k % columns == 0 and data.y else "")
        _draw_colour_bar(figure, grid, data)
        _draw_legend(figure, data, annotate)
        heading = data.metric.title if title is None else f"{title}: {data.metric.title.lower()}"
        figure.suptitle(textwrap.fill(heading, int(9 * width)), fontweight="bold")  # an inch holds about 9 bold letters
    return figure


def save_figure(figure: Figure, folder: Path | str, stem: str, *, frame: pd.DataFrame | None = None) -> list[Path]:
    """Write a figure as PNG (200 dpi), SVG and PDF, and its numbers as CSV; return the paths.

    The same figure gives the same bytes. Each file is written under a temporary name and then renamed, so that it is
    never seen half written.

    Args:
        figure: Figure to write.
        folder: Folder of the files; it is created if it does not exist.
        stem: Name of the files, without an ending.
        frame: Numbers behind the figure; without them no CSV is written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    undated: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}

    def save_as(kind: str, path: Path) -> None:
        with house_style():
            figure.savefig(path, format=kind, dpi=200, metadata=undated[kind])

    paths, layout = [], figure.get_layout_engine()
    try:
        for kind in undated:
            paths.append(_write_then_rename(folder / f"{stem}.{kind}", lambda path, kind=kind: save_as(kind, path)))  # type: ignore[misc]
            figure.set_layout_engine(None)  # the layout is done: the other files need no second drawing for it
    finally:
        figure.set_layout_engine(layout)
    if frame is not None:
        paths.append(_write_then_rename(folder / f"{stem}.csv", lambda path: frame.to_csv(path, index=False)))
    return paths


def _write_then_rename(path: Path, write: Callable[[Path], Any]) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _draw_panel(axes: Axes, panel: Panel, data: HeatmapData, annotate: bool, panel_width: float) -> None:
    values = panel.values
    large = values.size > _MAX_OUTLINED
    seaborn.heatmap(
        values,
        ax=axes,
        mask=~np.isfinite(values),
        norm=colour_norm(data.metric, data.limits),
        cmap=colour_map(data.metric),
        cbar=False,
        annot=np.array([[number_label(value) for value in row] for row in values]) if annotate else None,
        fmt="",
        annot_kws={"fontsize": 8},
        linewidths=0.4 if annotate else 0.0,
        linecolor="white",
        xticklabels=False,
        yticklabels=False,
        rasterized=large,
    )
    axes.set_ylim(0, len(data.y_values))  # seaborn puts the first row on top
    axes.tick_params(length=2.5, rotation=0)
    for axis, labels in ((axes.xaxis, data.x_values), (axes.yaxis, data.y_values if data.y else [])):
        shown = shown_ticks(len(labels)) if labels else np.array([], np.intp)
        room_in = panel_width / max(len(shown), 1)
        label_values(axis, shown + 0.5, [labels[k] for k in shown], room_in)
    for spine in axes.spines.values():
        spine.set(visible=True, color=INK, linewidth=0.8)

    ink = {text.get_position(): text.get_color() for text in axes.texts}  # seaborn's: readable on the cell's colour
    for i, row in enumerate(panel.cells):
        for j, cell in enumerate(row):
            if cell.state in STATE_LOOK:
                hatch, face, _ = STATE_LOOK[cell.state]
                axes.add_patch(Rectangle((j, i), 1, 1, facecolor=face, edgecolor="#8c8c8c", hatch=hatch, linewidth=0))
            elif cell.state == "partial" and annotate:
                count = f"{cell.n_ok}/{cell.n_expected}"
                axes.text(j + 0.95, i + 0.06, count, fontsize=6.5, ha="right", va="bottom", color=ink[j + 0.5, i + 0.5])
            elif cell.state == "partial":
                axes.add_patch(Polygon([(j + 1, i), (j + 1, i + 0.4), (j + 0.6, i)], facecolor=INK, linewidth=0))
    if data.metric.scale == "ratio":
        border = _border(values < 1, np.isfinite(values))
        # the zorder is right above the cells, so that both are one embedded picture in vector files
        axes.add_collection(LineCollection(border, colors=INK, linewidths=1.1, zorder=1.4, rasterized=large))
    if not annotate and min(values.shape) >= 3:
        _draw_levels(axes, values, data)
    for i, j in panel.near:
        if (i, j) not in (panel.lowest, panel.recommended):
            axes.plot(*((j + 0.14, i + 0.82) if annotate else (j + 0.5, i + 0.5)), **_NEAR_MARKER)
    if panel.lowest is not None:
        i, j = panel.lowest
        axes.add_patch(Rectangle((j, i), 1, 1, fill=False, edgecolor="white", linewidth=3.6, clip_on=False, zorder=4))
        axes.add_patch(Rectangle((j, i), 1, 1, fill=False, edgecolor="black", linewidth=1.8, clip_on=False, zorder=5))
    if panel.recommended is not None:
        i, j = panel.recommended
        position = (j + 0.16, i + 0.8) if annotate else (j + 0.5, i + 0.5)
        axes.plot(*position, **STAR, markersize=7.5, clip_on=False, zorder=6)


_NEAR_MARKER: dict[str, Any] = {
    "marker": "o",
    "linestyle": "none",
    "markersize": 3.6,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.7,
}


def _draw_levels(axes: Axes, values: NDArray[np.float64], data: HeatmapData) -> None:
    """Draw level lines at the colour bar's ticks, between the cells' centres; cells without a number interrupt them."""
    low, high = data.limits
    ratio = data.metric.scale == "ratio"
    levels = [t for t in round_ticks(low, high, data.metric.scale in ("ratio", "log")) if not (ratio and t == 1)]
    clipped = np.clip(np.where(np.isfinite(values), values, np.nan), low, high)
    known = clipped[np.isfinite(clipped)]
    levels = [level for level in levels if known.size and known.min() < level < known.max()]
    if levels:
        x, y = np.arange(values.shape[1]) + 0.5, np.arange(values.shape[0]) + 0.5
        lines = axes.contour(x, y, np.ma.masked_invalid(clipped), levels, colors="#4d4d4d", linewidths=0.6)
        labelled = [
            level
            for level, path in zip(levels, lines.get_paths(), strict=True)
            if np.count_nonzero(path.codes == Outline.MOVETO) <= _MAX_LABELLED
        ]
        axes.clabel(lines, labelled, fontsize=6, fmt=lambda level: f"{level:.4g}")


def _border(below: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Return the cell edges between a known value below 1 and a known value that is not below 1."""
    edges = []
    for i, j in np.argwhere((below[:, 1:] != below[:, :-1]) & known[:, 1:] & known[:, :-1]).tolist():
        edges.append([(j + 1, i), (j + 1, i + 1)])
    for i, j in np.argwhere((below[1:] != below[:-1]) & known[1:] & known[:-1]).tolist():
        edges.append([(j, i + 1), (j + 1, i + 1)])
    return edges


def _draw_colour_bar(figure: Figure, grid: NDArray[Any], data: HeatmapData) -> None:
    low, high = data.limits
    finite = np.concatenate([panel.values[np.isfinite(panel.values)] for panel in data.panels])
    slack = 1e-9 * (high - low)  # exp(log(x)) may differ from x in the last digit, which must not give an arrow
    beyond = (bool(finite.min() < low - slack), bool(finite.max() > high + slack))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    bar = figure.colorbar(grid[0, 0].collections[0], ax=grid, extend=extend, aspect=28, pad=0.02, fraction=0.06)
    ticks = round_ticks(low, high, data.metric.scale in ("ratio", "log"))
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    label = [data.metric.meaning]
    if data.metric.scale == "ratio":
        better, worse = ("above", "below") if data.metric.higher_is_better else ("below", "above")
        label.append(f"{better} 1: better, {worse} 1: worse")
        bar.ax.axhline(1.0, color=INK, linewidth=1.1)
    # the bar is 3/4 as high as the figure, and a letter is about 0.08 inches wide
    letters = int(0.75 * figure.get_figheight() / 0.08)
    bar.set_label("\n".join(textwrap.fill(line, letters) for line in label))


def _draw_legend(figure: Figure, data: HeatmapData, annotate: bool) -> None:
    """Draw a legend of the marks that are in the picture, under a line that says what a cell shows."""
    states = {state for panel in data.panels for row in panel.states for state in row}
    handles: list[Any] = []
    labels: list[str] = []
    if any(panel.recommended for panel in data.panels):
        handles.append(Line2D([], [], **STAR, markersize=7.5))
        labels.append(data.recommended_as)
    if any(panel.lowest for panel in data.panels):
        handles.append(Patch(facecolor="none", edgecolor="black", linewidth=1.8))
        which = "highest" if data.metric.higher_is_better else "lowest"
        labels.append(f"{which} value of a panel" + (", by the training set" if data.metric.split else ""))
    if any(set(panel.near) - {panel.lowest, panel.recommended} for panel in data.panels):
        handles.append(Line2D([], [], **_NEAR_MARKER))
        labels.append("within one standard error of the lowest")
    if "partial" in states:
        n = data.n_expected
        mark: Any = f"${n - 1}/{n}$" if annotate else (3, 0, 45)  # a number as in the cells, or a triangle
        size = 13 if annotate else 6
        handles.append(Line2D([], [], marker=mark, linestyle="none", color=INK, markersize=size, markeredgewidth=0))
        labels.append("seeds with a value / all seeds" if annotate else "some seeds without a value")
    for state, (hatch, face, words) in STATE_LOOK.items():
        if state in states:
            words = data.metric.infinite if state == "infinite" else words
            handles.append(Patch(facecolor=face, edgecolor="#8c8c8c", hatch=hatch, linewidth=0.8))
            labels.append(words if data.n_expected > 1 else words.partition(" (")[0])
    seeds = "1 seed" if data.n_expected == 1 else f"{data.statistic} over {data.n_expected} seeds"
    caption = [f"Each cell: {seeds}", *(f"{setting_label(key, value)}" for key, value in data.at.items())]
    legend_below(
        figure,
        handles,
        labels,
        ". ".join(caption) + ".",
        ncols=2 if len(data.metric.splits) > 1 else 1,
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )
