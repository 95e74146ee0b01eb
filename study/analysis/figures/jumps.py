"""Figure of a cell's jumps: ratio and outcome of each one, the modes kept in each group, and how fast they grow."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

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
from study.analysis.statistics.jump_outcomes import LABELS, outcomes_of
from study.analysis.statistics.study_data import StudyData
from study.replicates.metrics import proposed_ratios
from study.replicates.outcome import ACCEPTED, NOT_RECORDED, PROBED

_MAX_GROUPS = len(LINES)


def draw_jumps(data: StudyData, options: FigureOptions) -> Picture:
    """Draw each jump's proposed ratio over training, its outcome, and rank and spectral radius of each group.

    The cells are the best ones, or the one chosen with ``at``. Every seed's ratios are shown; ranks and radii are
    medians over the seeds. Jumps whose ratio is not finite lie on the upper edge; jumps that were rejected before they
    were evaluated have no ratio and lie on the lower edge. Where jumps leap several numbers of steps, as with
    candidates, another panel shows the steps of each evaluated jump.

    Raises:
        ValueError: No replicate of these cells has jumped.
    """
    cells = [(words, cell, data.replicates(cell)) for words, cell in cells_to_show(data, options.at).items()]
    cells = [(words, cell, rows) for words, cell, rows in cells if any(len(row["jump_epoch"]) for row in rows)]
    if not cells:
        raise ValueError("no replicate of the cells to show has jumped: there is nothing to draw")
    frame = pd.concat([_frame(words, cell, rows) for words, cell, rows in cells], ignore_index=True)
    groups = list(dict.fromkeys(name for _, _, rows in cells for row in rows for name in row["groups"]))
    shown = [groups[k] for k in np.unique(np.linspace(0, len(groups) - 1, _MAX_GROUPS).round().astype(int))]
    shows_steps = bool((frame.groupby("cell")["s"].nunique() > 1).any())
    lines = {"modes kept": "rank", r"largest $|\lambda|$": "spectral_radius"}
    labels = ["loss after the jump /\nloss before it", *(["steps leapt"] if shows_steps else []), *lines]
    with house_style():
        figure = StudyFigure(
            figsize=(4.2 * len(cells) + 0.9, 2.2 * len(labels)),
            layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.04),
        )
        grid = figure.subplots(len(labels), len(cells), squeeze=False, sharex=True, sharey="row")
        for axes_column, (words, cell, _) in zip(grid.T, cells, strict=True):
            of_cell = frame[frame["cell"] == words]
            axes_column[0].set_title(f"{words}:\n{cell_label(cell)}", loc="left")
            jumps = of_cell.drop_duplicates(["seed", "epoch"])
            _draw_ratios(axes_column[0], jumps)
            if shows_steps:
                _draw_steps(axes_column[1], jumps)
            axes_column[-2].yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            for axes, column in zip(axes_column[-2:], lines.values(), strict=True):
                for k, group in enumerate(shown):
                    centre = of_cell[of_cell["group"] == group].groupby("epoch")[column].median()
                    axes.plot(centre.index, centre, **LINES[k], linewidth=1.0, label=group)
            axes_column[-1].axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
            axes_column[-1].set_xlabel("epochs")
        for axes, label in zip(grid[:, 0], labels, strict=True):
            axes.set_ylabel(label)
        for axes in grid.flat:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#ececec", linewidth=0.6)
        _draw_legend(figure, frame, shown, len(groups), len(data.seeds))
        figure.suptitle(f"{data.title}: jumps one by one", fontweight="bold")
    return Picture("jumps", figure, frame)


def _hollow(marker: str, size: float, colour: str) -> dict[str, Any]:
    return {
        "marker": marker,
        "markersize": size,
        "color": colour,
        "markerfacecolor": "white",
        "markeredgewidth": 0.9,
    }


# Outcomes are told apart by the marker's shape as well as by its colour (Okabe and Ito's, for every colour vision).
_LOOKS: dict[str, dict[str, Any]] = {
    ACCEPTED: {"marker": "o", "markersize": 3.2, "color": "#0072b2", "markeredgewidth": 0.0},
    PROBED: _hollow("o", 3.6, "#0072b2"),
    "rejected_loss": _hollow("D", 3.4, "#d55e00"),
    "not_finite": _hollow("^", 4.5, "#000000"),
    "rejected_residual": _hollow("s", 3.8, "#009e73"),
    "rejected_inconsistent": _hollow("P", 4.6, "#cc79a7"),
    "rank_deficient": {"marker": "x", "markersize": 4.0, "color": "#7f7f7f", "markeredgewidth": 1.1},
    NOT_RECORDED: _hollow("o", 3.6, "#d55e00"),
}


def _draw_ratios(axes: Axes, jumps: pd.DataFrame) -> None:
    """Draw one point per jump and seed; on a log scale, since a jump can be as bad as it likes."""
    for outcome, look in _LOOKS.items():
        chosen = jumps[jumps["outcome"] == outcome]
        ratio = chosen["proposed_ratio"]
        finite = chosen[np.isfinite(ratio) & (ratio > 0)]
        axes.plot(finite["epoch"], finite["proposed_ratio"], linestyle="none", alpha=0.75, **look)
        beyond = {**look, "marker": "^", "markersize": 4.5}
        for edge, style, height in ((chosen[np.isinf(ratio)], beyond, 0.98), (chosen[ratio.isna()], look, 0.03)):
            at = axes.get_xaxis_transform()
            axes.plot(edge["epoch"], np.full(len(edge), height), linestyle="none", **style, transform=at)
    axes.set_yscale("log")
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    label_plainly(axes.yaxis)


def _draw_steps(axes: Axes, jumps: pd.DataFrame) -> None:
    """Draw the steps that each evaluated jump leaps: of several candidates, those of the best."""
    for outcome, look in _LOOKS.items():
        chosen = jumps[(jumps["outcome"] == outcome) & jumps["proposed_ratio"].notna()]
        axes.plot(chosen["epoch"], chosen["s"], linestyle="none", alpha=0.75, **look)
    axes.set_yscale("log")
    label_plainly(axes.yaxis)


def _draw_legend(figure: Figure, frame: pd.DataFrame, shown: Sequence[str], groups: int, seeds: int) -> None:
    outcomes = [outcome for outcome in LABELS if (frame["outcome"] == outcome).any()]
    handles = [Line2D([], [], linestyle="none", **_LOOKS[outcome]) for outcome in outcomes]
    labels = [LABELS[outcome] for outcome in outcomes]
    if np.isinf(frame["proposed_ratio"][frame["outcome"] != "not_finite"]).any():
        handles.append(Line2D([], [], linestyle="none", marker="^", color=INK, markersize=4.5))
        labels.append("loss not finite")
    handles += [Line2D([], [], **LINES[k]) for k in range(len(shown))]
    # older records have paths in the network, such as 0.weight, in place of words
    labels += [name if " " in name else f"group {name}" for name in shown]
    notes = "Ratios on the training set" + ("" if seeds == 1 else f" of all {seeds} seeds; lines: medians over seeds")
    if frame["proposed_ratio"].isna().any():
        notes += "; on the lower edge: not evaluated"
    if len(shown) < groups:
        notes += f"; {len(shown)} of {groups} groups are shown"
    legend_below(
        figure,
        handles,
        labels,
        caption(figure, f"{notes}."),
        ncols=min(len(handles), 5, max(2, int(figure.get_figwidth() / 2.4))),
    )


def _frame(words: str, cell: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per seed, jump and group.

    Args:
        words: Words for the cell.
        cell: Axis key -> value.
        rows: The cell's replicates, with their jumps.
    """
    frames = []
    for row in rows:
        before, after = (np.asarray(row[f"jump_train_{when}"], dtype=np.float64) for when in ("before", "after"))
        ratios = proposed_ratios(before, after)
        unseen = np.isnan(before) & np.isnan(after)  # rejected before they were evaluated
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
                        "outcome": outcomes_of(row),
                        "accepted": row["jump_accepted"],
                        "s": [math.nan] * len(ratios) if row["jump_s"] is None else row["jump_s"],
                        "rank": [ranks[k] for ranks in row["jump_rank"]],
                        "spectral_radius": [radii[k] for radii in row["jump_spectral_radius"]],
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)
