"""Figure of the loss over epochs, step equivalents and wall time, as in Figure 4 of Tano et al. 2020."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from study.analysis.figures.picture import FigureOptions, Picture, cells_to_show
from study.analysis.figures.style import LINES, SPLIT_LABEL, StudyFigure, caption, cell_label, house_style, legend_below
from study.analysis.statistics.equal_cost import Price, Row, jump_seconds, price_in_epochs
from study.analysis.statistics.study_data import StudyData

_X_LABEL = {
    "epoch": "epochs",
    "step_equivalents": "step equivalents\n(training and jumps)",
    "seconds": "seconds\n(training and jumps)",
}


def draw_curves(data: StudyData, options: FigureOptions) -> Picture:
    """Draw the losses of the recommended cell, or of the cell chosen with ``at``, and of plain training.

    Plain training is drawn with the recipe of the cells, and the best one where it is another.

    A line is the median over seeds; its band reaches from the lowest to the highest seed. Ticks at the bottom mark the
    jumps. Step equivalents count jumps by their operations. Seconds are shown only if every replicate drawn was trained
    alone, because replicates in a pack share their time. Both leave out the cost of judging. Raises ValueError if no
    cell can be shown.
    """
    shown = cells_to_show(data, options.at)
    lines = [(words, cell, data.replicates(cell)) for words, cell in shown.items()]
    baselines = data.baselines(next(iter(shown.values())))
    same = all(data.baselines(cell) == baselines for cell in shown.values())
    if same and baselines:
        lines = [("baseline", {}, baselines), *lines]
    if best_plain := data.best_plain_rows():
        lines = [("best plain training", data.recommendation.plain, best_plain), *lines]
    lines = [(words, cell, rows) for words, cell, rows in lines if rows]
    if not lines:
        raise ValueError("no replicate of the cells to show has a loss curve: there is nothing to draw")
    timed = all(row["stacked"] == 1 for _, _, rows in lines for row in rows)
    units = ["epoch", "step_equivalents", *(["seconds"] if timed else [])]
    with house_style():
        layout = ConstrainedLayoutEngine(wspace=0.04, hspace=0.04)
        figure = StudyFigure(figsize=(2.9 * len(units) + 0.8, 5.6), layout=layout)
        grid = figure.subplots(2, len(units), squeeze=False, sharex="col", sharey="row")
        for axes_row, split in zip(grid, ("train", "test"), strict=True):
            for axes, unit in zip(axes_row, units, strict=True):
                for k, (_, _, rows) in enumerate(lines):
                    _draw_line(axes, rows, split, unit, LINES[k], height=k)
                axes.set_yscale("log")
                axes.spines[["top", "right"]].set_visible(False)
                axes.grid(color="#ececec", linewidth=0.6)
            axes_row[0].set_ylabel(f"loss, {SPLIT_LABEL[split].lower()}")
        for axes, unit in zip(grid[1], units, strict=True):
            axes.set_xlabel(_X_LABEL[unit])
        handles = [Line2D([], [], **LINES[k]) for k in range(len(lines))]
        labels = [f"{words}: {cell_label(cell)}" if cell else words for words, cell, _ in lines]
        seeds = len(data.seeds)
        text = "1 seed." if seeds == 1 else f"Lines: median over {seeds} seeds; bands: lowest to highest seed."
        text += " Ticks at the bottom: jumps."
        if any(row["status"] == "diverged" for _, _, rows in lines for row in rows):
            text += " Cross: a seed diverged there."
        if not timed:
            text += " No wall time, because replicates in one pack share it."
        legend_below(figure, handles, labels, caption(figure, text))
        figure.suptitle(f"{data.title}: loss with and without jumps", fontweight="bold")
    return Picture("curves", figure, _frame(lines))


def cost_axis(row: Row, epochs: NDArray[np.float64], unit: str) -> NDArray[np.float64]:
    """Convert epochs of a replicate to another unit. The cost of all jumps is shared equally and spent at each jump.

    Args:
        row: Replicate with its costs.
        epochs: Epochs to convert.
        unit: ``epoch``, ``step_equivalents`` or ``seconds``.
    """
    if unit == "epoch" or not row["epoch"]:
        return epochs
    jumps = row["jump_epoch"]
    if unit == "step_equivalents":
        return price_in_epochs(row).spent(epochs, jumps) * float(row["steps"] / row["epoch"])
    per_jump = jump_seconds(row) / len(jumps) if len(jumps) else 0.0
    return Price(0.0, row["seconds_training"] / row["epoch"], per_jump).spent(epochs, jumps)


def _draw_line(axes: Axes, rows: Sequence[Row], split: str, unit: str, look: dict[str, Any], height: int) -> None:
    curves = [
        pd.Series(np.asarray(row[f"curve_{split}"], dtype=np.float64), index=row[f"curve_{split}_epoch"])
        for row in rows
    ]
    together = pd.concat(curves, axis=1).sort_index()
    together = together.where(np.isfinite(together) & (together > 0))
    x = cost_axis(max(rows, key=lambda row: row["epoch"]), together.index.to_numpy(dtype=np.float64), unit)
    axes.plot(x, together.median(axis=1), **look, linewidth=1.3, zorder=3)
    axes.fill_between(x, together.min(axis=1), together.max(axis=1), color=look["color"], alpha=0.2, linewidth=0)
    for k, row in enumerate(rows):
        if row["status"] == "diverged" and (end := together.iloc[:, k].last_valid_index()) is not None:
            x_end = x[together.index.get_loc(end)]
            axes.plot(x_end, together.iloc[:, k][end], marker="x", color=look["color"], markersize=6)
    jumps = cost_axis(rows[0], np.asarray(rows[0]["jump_epoch"], dtype=np.float64), unit)
    bottom = axes.get_xaxis_transform()
    axes.vlines(jumps, 0.03 * height - 0.02, 0.03 * height, color=look["color"], linewidth=0.7, transform=bottom)


def _frame(lines: Sequence[tuple[str, Mapping[str, Any], Sequence[Row]]]) -> pd.DataFrame:
    frames = []
    for words, cell, rows in lines:
        for row in rows:
            for split in ("train", "test"):
                epochs = np.asarray(row[f"curve_{split}_epoch"], dtype=np.float64)
                frames.append(
                    pd.DataFrame(
                        {
                            "line": words,
                            **{key: [value] * len(epochs) for key, value in cell.items()},
                            "seed": row["seed"],
                            "split": split,
                            "epoch": epochs,
                            "step_equivalents": cost_axis(row, epochs, "step_equivalents"),
                            "seconds": cost_axis(row, epochs, "seconds") if row["stacked"] == 1 else np.nan,
                            "loss": row[f"curve_{split}"],
                        }
                    )
                )
    return pd.concat(frames, ignore_index=True)
