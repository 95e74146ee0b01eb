"""Anatomy of a cell's jumps: what each proposed, how many modes it kept in each group, and how fast they grow."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from study.analysis.figures.picture import FigureOptions, Picture, cells_to_show
from study.analysis.figures.style import (
    INK,
    LINES,
    StudyFigure,
    caption,
    cell_label,
    house_style,
    label_plainly,
    legend_below,
)
from study.analysis.statistics.study_data import StudyData
from study.replicates.metrics import proposed_ratios

_MOST_GROUPS = len(LINES)


def draw_jumps(data: StudyData, options: FigureOptions) -> Picture:
    """Proposed ratio per jump over training, accepted or rejected; rank and spectral radius of each group.

    Of the best cells, or the one chosen with ``at``. Every seed's ratios are shown; ranks and radii are medians over
    the seeds. A ratio that is not finite is a triangle on the upper edge. Raises ValueError where there was no jump.
    """
    cells = [(words, cell, data.replicates(cell)) for words, cell in cells_to_show(data, options.at).items()]
    cells = [(words, cell, rows) for words, cell, rows in cells if any(len(row["jump_epoch"]) for row in rows)]
    if not cells:
        raise ValueError("no replicate of the cells to show has jumped: there is nothing to draw")
    frame = pd.concat([_frame(words, cell, rows) for words, cell, rows in cells], ignore_index=True)
    groups = list(dict.fromkeys(name for _, _, rows in cells for row in rows for name in row["groups"]))
    shown = [groups[k] for k in np.unique(np.linspace(0, len(groups) - 1, _MOST_GROUPS).round().astype(int))]
    with house_style():
        figure = StudyFigure(
            figsize=(4.2 * len(cells) + 0.9, 6.6), layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.04)
        )
        grid = figure.subplots(3, len(cells), squeeze=False, sharex=True, sharey="row")
        for axes_column, (words, cell, _) in zip(grid.T, cells, strict=True):
            own = frame[frame["cell"] == words]
            axes_column[0].set_title(f"{words}:\n{cell_label(cell)}", loc="left")
            _draw_ratios(axes_column[0], own)
            for axes, column in zip(axes_column[1:], ("rank", "spectral_radius"), strict=True):
                for k, group in enumerate(shown):
                    centre = own[own["group"] == group].groupby("epoch")[column].median()
                    axes.plot(centre.index, centre, **LINES[k], linewidth=1.0, label=group)
            axes_column[2].axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
            axes_column[2].set_xlabel("epochs")
        for axes, label in zip(
            grid[:, 0], ("loss after the jump /\nloss before it", "modes kept", r"largest $|\lambda|$"), strict=True
        ):
            axes.set_ylabel(label)
        for axes in grid.flat:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#ececec", linewidth=0.6)
        _draw_legend(figure, frame, shown, len(groups), len(data.seeds))
        figure.suptitle(f"{data.title}: anatomy of the jumps", fontweight="bold")
    return Picture("jumps", figure, frame)


_LOOK: dict[bool, dict[str, Any]] = {
    True: {"marker": "o", "markersize": 3.2, "color": "#0072b2", "markeredgewidth": 0.0},
    False: {"marker": "o", "markersize": 3.6, "color": "#d55e00", "markerfacecolor": "white", "markeredgewidth": 0.9},
}


def _draw_ratios(axes: Axes, own: pd.DataFrame) -> None:
    """One point per jump and seed; on a log scale, since a jump can be as bad as it likes."""
    jumps = own.drop_duplicates(["seed", "epoch"])
    for accepted, look in _LOOK.items():
        some = jumps[jumps["accepted"] == accepted]
        finite = some[np.isfinite(some["proposed_ratio"]) & (some["proposed_ratio"] > 0)]
        axes.plot(finite["epoch"], finite["proposed_ratio"], linestyle="none", alpha=0.75, **look)
        beyond = some[np.isinf(some["proposed_ratio"])]
        axes.plot(
            beyond["epoch"],
            np.full(len(beyond), 0.98),
            linestyle="none",
            **{**look, "marker": "^", "markersize": 4.5},
            transform=axes.get_xaxis_transform(),
        )
    axes.set_yscale("log")
    label_plainly(axes.yaxis)
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))


def _draw_legend(figure: Figure, frame: pd.DataFrame, shown: Sequence[str], groups: int, seeds: int) -> None:
    handles = [Line2D([], [], linestyle="none", **_LOOK[True])]
    labels = ["accepted"]
    if not frame["accepted"].all():
        handles.append(Line2D([], [], linestyle="none", **_LOOK[False]))
        labels.append("rejected")
    if np.isinf(frame["proposed_ratio"]).any():
        handles.append(Line2D([], [], linestyle="none", marker="^", color=INK, markersize=4.5))
        labels.append("loss not finite")
    handles += [Line2D([], [], **LINES[k]) for k in range(len(shown))]
    labels += [f"group {name}" for name in shown]
    said = "Ratios on the training set" + ("" if seeds == 1 else f" of all {seeds} seeds; lines: median over seeds")
    if len(shown) < groups:
        said += f"; {len(shown)} of {groups} groups"
    legend_below(
        figure,
        handles,
        labels,
        caption(figure, f"{said}."),
        ncols=min(len(handles), 5),
    )


def _frame(words: str, cell: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per seed, jump and group."""
    frames = []
    for row in rows:
        before, after = (np.asarray(row[f"jump_train_{when}"], dtype=np.float64) for when in ("before", "after"))
        ratios = proposed_ratios(before, after)
        unseen = np.isnan(before) & np.isnan(after)  # rejected before it was evaluated
        for k, group in enumerate(row["groups"]):
            frames.append(
                pd.DataFrame(
                    {
                        "cell": words,
                        **{key: [value] * len(ratios) for key, value in cell.items()},
                        "seed": row["seed"],
                        "epoch": row["jump_epoch"],
                        "group": group,
                        "proposed_ratio": np.where(unseen, np.nan, ratios),
                        "accepted": row["jump_accepted"],
                        "rank": [ranks[k] for ranks in row["jump_rank"]],
                        "spectral_radius": [radii[k] for radii in row["jump_spectral_radius"]],
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)
