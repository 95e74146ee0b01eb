"""Cost and benefit of jumps: final loss ratio against overhead of every cell, and the Pareto front."""

import math
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from study.analysis.figures.picture import FigureOptions, Picture
from study.analysis.figures.style import (
    INK,
    STAR,
    StudyFigure,
    axis_label,
    caption,
    cell_label,
    house_style,
    label_plainly,
    label_values,
    legend_below,
    setting_label,
    shown_ticks,
)
from study.analysis.statistics.answer import change_in_words, plain_in_words
from study.analysis.statistics.cells import Replicates, restrict, rising, value_key
from study.analysis.statistics.recommendation import Recommendation
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import known_metric

_MARKERS = "osD^vP"
_CAP = 10.0


def draw_plane(data: StudyData, options: FigureOptions) -> Picture:
    """Draw cells by cost and benefit, medians over seeds, with the Pareto front that begins at plain training (1, 1).

    A star marks the recommended cell. If its time was measured, an open star shows it there: time is what a user pays.

    The colour shows the first axis that varies, the marker the last one with six values or fewer. Only cells where
    every seed finished can be on the front; other cells are hollow. Ratios above 10 are drawn on the upper edge. Raises
    ValueError if no cell has both numbers.
    """
    if data.table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to draw")
    for name in ("final_loss_ratio", "overhead"):
        known_metric(name, data.table.columns)
    grid = {key: rising(values) for key, values in restrict(data.axes, options.at).items()}
    replicates = Replicates(data.table, grid, data.seeds)
    columns = ("final_loss_ratio_train", "overhead")
    both = zip(*(replicates.summaries(column, recorded=True) for column in columns), strict=True)
    frame = pd.DataFrame(
        [
            {
                **ratio.parameters,
                "overhead": cost.centre,
                "final_loss_ratio": ratio.centre,
                "complete": ratio.complete,
                "state": ratio.state,
            }
            for ratio, cost in both
            if not math.isnan(ratio.centre) and math.isfinite(cost.centre)
        ]
    )
    if frame.empty or not np.isfinite(frame["final_loss_ratio"]).any():
        raise ValueError("no cell has both a finite final_loss_ratio and an overhead: there is nothing to draw")
    frame["pareto"] = _front(frame)
    varying = [key for key, values in grid.items() if len(values) > 1]
    colour = varying[0] if varying else next(iter(grid))
    marker = next((key for key in reversed(varying) if key != colour and len(grid[key]) <= len(_MARKERS)), None)
    with house_style():
        figure = StudyFigure(figsize=(7.2, 5.4), layout=ConstrainedLayoutEngine())
        axes = figure.subplots()
        _draw_points(figure, axes, frame, grid, colour, marker)
        _draw_front(axes, frame)
        starred = _draw_recommended(axes, data, frame)
        axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.set_xlabel("cost with jumps / cost without (operations; open star: time)")
        axes.set_ylabel("final loss / final loss of the baseline")
        axes.set_yscale("log")
        label_plainly(axes.yaxis)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#ececec", linewidth=0.6)
        _draw_legend(figure, data, frame, grid, marker, starred)
        figure.suptitle(f"{data.title}: cost and benefit", fontweight="bold")
    return Picture("plane", figure, frame)


def _front(frame: pd.DataFrame) -> list[bool]:
    """Mark the complete cells that neither plain training nor another cell beats in both numbers."""
    costs = frame["overhead"].map(lambda cost: float(f"{cost:.9g}"))  # equal costs may differ by rounding
    front, lowest = [False] * len(frame), 1.0
    for k in sorted(range(len(frame)), key=lambda k: (costs.iloc[k], frame["final_loss_ratio"].iloc[k])):
        if frame["complete"].iloc[k] and frame["final_loss_ratio"].iloc[k] < lowest:
            front[k], lowest = True, frame["final_loss_ratio"].iloc[k]
    return front


def _draw_points(
    figure: Figure, axes: Axes, frame: pd.DataFrame, grid: dict[str, list[Any]], colour: str, marker: str | None
) -> None:
    indices = {value_key(value): k for k, value in enumerate(grid[colour])}
    n = len(indices)
    colours = matplotlib.colormaps["cividis"].resampled(n)
    norm = BoundaryNorm(np.arange(n + 1) - 0.5, n)
    for k, value in enumerate(grid[marker] if marker else [None]):
        cells = frame if marker is None else frame[[value_key(v) == value_key(value) for v in frame[marker]]]
        y = cells["final_loss_ratio"].clip(upper=_CAP)
        face = colours(norm([indices[value_key(v)] for v in cells[colour]])) if len(cells) else np.empty((0, 4))
        hollow = ~cells["complete"].to_numpy(dtype=bool)
        axes.scatter(
            cells["overhead"],
            y,
            s=30,
            marker=_MARKERS[k],
            facecolors=np.where(hollow[:, None], 1.0, face),
            edgecolors=np.where(hollow[:, None], face, [0.2, 0.2, 0.2, 1.0]).tolist(),
            linewidths=np.where(hollow, 1.2, 0.5).tolist(),
            zorder=3,
        )
    bar = figure.colorbar(matplotlib.cm.ScalarMappable(norm, colours), ax=axes, pad=0.02)
    shown = shown_ticks(n, 20)
    label_values(bar.ax.yaxis, shown, [grid[colour][k] for k in shown], math.inf)
    bar.set_label(axis_label(colour))


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the front in order of cost; of a longer front, six cells spread evenly over it."""
    front = frame[frame["pareto"]].sort_values("overhead")
    return front.iloc[np.unique(np.linspace(0, len(front) - 1, 6).round().astype(int))] if len(front) else front


def _draw_front(axes: Axes, frame: pd.DataFrame) -> None:
    front = frame[frame["pareto"]].sort_values("overhead")
    x, y = [1.0, *front["overhead"]], [1.0, *front["final_loss_ratio"]]
    axes.step(x, y, where="post", color=INK, linewidth=1.2, zorder=2)
    axes.plot(1.0, 1.0, **_PLAIN_MARKER, zorder=4)
    for k, row in enumerate(_numbered(frame).itertuples(), 1):
        point = (float(row.overhead), float(row.final_loss_ratio))  # type: ignore[arg-type]
        axes.annotate(str(k), point, xytext=(-5, -10), textcoords="offset points", fontweight="bold", zorder=4)


def _draw_recommended(axes: Axes, data: StudyData, frame: pd.DataFrame) -> bool:
    """Mark the recommended cell at its operations and at its measured time; return True if it is in the picture."""
    cell = data.recommended_cell
    if cell is None:
        return False
    wanted = {key: value_key(value) for key, value in cell.items()}
    rows = [row for _, row in frame.iterrows() if {key: value_key(row[key]) for key in cell} == wanted]
    if not rows:
        return False
    x, y = float(rows[0]["overhead"]), min(float(rows[0]["final_loss_ratio"]), _CAP)
    axes.plot(x, y, **STAR, markersize=11, zorder=6)
    if time := data.recommendation.time:
        left, right = axes.get_xlim()
        end = min(max(time.ratio, left), right)
        axes.set_xlim(left, right)  # operations differ by a few per cent, which a time of twice as much would hide
        axes.plot([x, end], [y, y], color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=5)
        axes.plot(end, y, **_TIMED_STAR, markersize=11, zorder=6, clip_on=False)
        if end != time.ratio:
            axes.annotate(
                f"time: {time.ratio:.3g}", (end, y), (-8, 5), textcoords="offset points", ha="right", fontsize=8
            )
    return True


_TIMED_STAR: dict[str, Any] = {**STAR, "markerfacecolor": "white"}
_PLAIN_MARKER: dict[str, Any] = {"marker": "X", "linestyle": "none", "color": INK, "markersize": 7}


def _draw_legend(
    figure: Figure, data: StudyData, frame: pd.DataFrame, grid: dict[str, list[Any]], marker: str | None, starred: bool
) -> None:
    handles = [Line2D([], [], **_PLAIN_MARKER), Line2D([], [], color=INK, linewidth=1.2)]
    labels = ["plain training of the same recipe", "Pareto front"]
    if starred:
        handles.append(Line2D([], [], **STAR, markersize=11))
        labels.append(data.recommended_as)
    if starred and data.recommendation.time:
        handles.append(Line2D([], [], **_TIMED_STAR, markersize=11))
        labels.append("the same cell, at its measured time")
    for k, value in enumerate(grid[marker] if marker else []):
        handles.append(Line2D([], [], marker=_MARKERS[k], linestyle="none", color="#7f7f7f", markersize=5.5))
        labels.append(setting_label(str(marker), value))
    if not frame["complete"].all():
        handles.append(Line2D([], [], marker="o", linestyle="none", markerfacecolor="white", color=INK, markersize=5.5))
        labels.append("some seeds without a finite value")
    seeds = len(data.seeds)
    text = "1 seed" if seeds == 1 else f"Medians over {seeds} seeds"
    if above := int((frame["final_loss_ratio"] > _CAP).sum()):
        text += f"; {above} of {len(frame)} cells lie above {_CAP:g} and are drawn on the upper edge"
    text += ". Below the dotted line: better than plain training of the same recipe."
    if starred:
        text += f" {_against_best_plain(data.recommendation)}"
    numbered = [
        f"{k}: {cell_label({key: row[key] for key in grid})}"
        for k, (_, row) in enumerate(_numbered(frame).iterrows(), 1)
    ]
    if numbered:
        text += " Numbered cells are on the Pareto front:"
    legend_below(figure, handles, labels, "\n".join([caption(figure, text), *numbered]), ncols=2)


def _against_best_plain(result: Recommendation) -> str:
    """Compare the starred cell with the best plain training, at equal steps and at equal time."""
    assert result.equal_steps is not None
    text = (
        f"The star's loss against {plain_in_words(result)}: {change_in_words(result.equal_steps.ratio)} at equal steps"
    )
    if result.equal_time is not None:
        text += f", {change_in_words(result.equal_time.ratio)} at equal time"
    return f"{text}."
