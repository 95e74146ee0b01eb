"""Loss against epochs, step equivalents and wall time, with and without jumps: Figure 4 of Tano et al. 2020."""

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
from study.analysis.statistics.equal_cost import Price, price_in_epochs
from study.analysis.statistics.study_data import StudyData

_X_LABEL = {
    "epoch": "epochs",
    "step_equivalents": "step equivalents\n(training and jumps)",
    "seconds": "seconds\n(training and jumps)",
}

Row = Mapping[str, Any]


def draw_curves(data: StudyData, options: FigureOptions) -> Picture:
    """Training and test loss of the best cells (or the one chosen with ``at``) and of their baselines.

    A line is the median over seeds, its band reaches from the lowest to the highest; below, a mark per jump. Step
    equivalents count jumps by their operations; seconds are shown only where every replicate drawn was trained alone,
    since replicates in a pack share theirs. Judging is left out of both. Raises ValueError where no cell can be shown.
    """
    shown = cells_to_show(data, options.at)
    lines = [(words, cell, data.replicates(cell)) for words, cell in shown.items()]
    plain = data.baselines(next(iter(shown.values())))
    same = all(data.baselines(cell) == plain for cell in shown.values())
    everything = [("baseline", {}, plain), *lines] if same and plain else lines
    everything = [(words, cell, rows) for words, cell, rows in everything if rows]
    if not everything:
        raise ValueError("no replicate of the cells to show has a loss curve: there is nothing to draw")
    timed = all(row["stacked"] == 1 for _, _, rows in everything for row in rows)
    ways = ["epoch", "step_equivalents", *(["seconds"] if timed else [])]
    with house_style():
        figure = StudyFigure(
            figsize=(2.9 * len(ways) + 0.8, 5.6), layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.04)
        )
        grid = figure.subplots(2, len(ways), squeeze=False, sharex="col", sharey="row")
        for axes_row, split in zip(grid, ("train", "test"), strict=True):
            for axes, way in zip(axes_row, ways, strict=True):
                for k, (_, _, rows) in enumerate(everything):
                    _draw_line(axes, rows, split, way, LINES[k], height=k)
                axes.set_yscale("log")
                axes.spines[["top", "right"]].set_visible(False)
                axes.grid(color="#ececec", linewidth=0.6)
            axes_row[0].set_ylabel(f"{SPLIT_LABEL[split].lower()} loss")
        for axes, way in zip(grid[1], ways, strict=True):
            axes.set_xlabel(_X_LABEL[way])
        handles = [Line2D([], [], **LINES[k]) for k in range(len(everything))]
        labels = [f"{words}: {cell_label(cell)}" if cell else words for words, cell, _ in everything]
        seeds = len(data.seeds)
        said = "1 seed" if seeds == 1 else f"Median and range over {seeds} seeds"
        if not timed:
            said += "; no wall time, since replicates in packs share theirs"
        said += ". Ticks: jumps."
        if any(row["status"] == "diverged" for _, _, rows in everything for row in rows):
            said += " A cross: where a seed diverged."
        legend_below(
            figure,
            handles,
            labels,
            caption(figure, said),
        )
        figure.suptitle(f"{data.title}: loss with and without jumps", fontweight="bold")
    return Picture("curves", figure, _frame(everything))


def cost_axis(row: Row, epochs: NDArray[np.float64], way: str) -> NDArray[np.float64]:
    """Where a replicate's epochs lie on an axis: a jump's cost falls where it happened, shared equally by all jumps."""
    if way == "epoch" or not row["epoch"]:
        return epochs
    jumps = row["jump_epoch"]
    if way == "step_equivalents":
        return price_in_epochs(row).spent(epochs, jumps) * float(row["steps"] / row["epoch"])
    per_jump = row["seconds_jumps"] / len(jumps) if len(jumps) else 0.0
    return Price(0.0, row["seconds_training"] / row["epoch"], per_jump).spent(epochs, jumps)


def _draw_line(axes: Axes, rows: Sequence[Row], split: str, way: str, look: dict[str, Any], height: int) -> None:
    curves = [
        pd.Series(np.asarray(row[f"curve_{split}"], dtype=np.float64), index=row[f"curve_{split}_epoch"])
        for row in rows
    ]
    together = pd.concat(curves, axis=1).sort_index()
    together = together.where(np.isfinite(together) & (together > 0))
    x = cost_axis(max(rows, key=lambda row: row["epoch"]), together.index.to_numpy(dtype=np.float64), way)
    axes.plot(x, together.median(axis=1), **look, linewidth=1.3, zorder=3)
    axes.fill_between(x, together.min(axis=1), together.max(axis=1), color=look["color"], alpha=0.2, linewidth=0)
    for k, row in enumerate(rows):
        if row["status"] == "diverged" and (end := together.iloc[:, k].last_valid_index()) is not None:
            place = x[together.index.get_loc(end)]
            axes.plot(place, together.iloc[:, k][end], marker="x", color=look["color"], markersize=6)
    jumps = cost_axis(rows[0], np.asarray(rows[0]["jump_epoch"], dtype=np.float64), way)
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
