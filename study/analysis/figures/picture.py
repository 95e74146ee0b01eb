"""What a figure can be asked to show, and what it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from study.analysis.statistics.cells import CellSummary, Replicates, list_values, restrict, rising
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import Metric, known_metric


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files without an ending, and the numbers it shows."""

    stem: str
    figure: Figure
    frame: pd.DataFrame


@dataclass(frozen=True)
class FigureOptions:
    """What a figure can be asked to show. ``x``, ``y``, ``facet`` are those of heatmaps."""

    metric: str = "mean_relative_error"
    x: str = "s"
    y: str = "m"
    facet: str | None = "tolerance"
    at: Mapping[str, Any] = field(default_factory=dict)

    def stem(self, name: str) -> str:
        """A figure's name, with that of any other metric than the paper's."""
        return name if self.metric == "mean_relative_error" else f"{name}_{self.metric}"


def options_for(
    data: StudyData,
    *,
    metric: str | None = None,
    x: str | None = None,
    y: str | None = None,
    facet: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> FigureOptions:
    """Return what is asked for, and what suits the study for all that is left open (None).

    Heatmaps show s to the right, m upwards and a row per tolerance. Where the study lacks one of these axes, another of
    its axes takes the place: one with several values before one with a single value, in the order of the spec.

    Args:
        data: the study.
        metric: name without ``_train`` and ``_test``; by default the study's headline.
        x: axis of a heatmap to the right.
        y: axis of a heatmap upwards.
        facet: axis with one row of heatmaps per value.
        at: values of other axes to show; these axes are not chosen for a place.
    """
    chosen, at = {"x": x, "y": y, "facet": facet}, dict(at or {})
    free = [axis for axis in data.axes if axis not in at and axis not in chosen.values()]
    free.sort(key=lambda axis: len(data.axes[axis]) < 2)

    def take(place: str, axis: str) -> None:
        if chosen[place] is None and axis in free:
            chosen[place] = axis
            free.remove(axis)

    take("x", "s")
    take("y", "m")
    for place in ("x", "y"):
        if free:
            take(place, free[0])
    several = [axis for axis in free if len(data.axes[axis]) > 1]
    if several:
        take("facet", "tolerance" if "tolerance" in several else several[0])
    take("facet", "tolerance")  # of a single value, which is then named above the panels
    return FigureOptions(metric or data.headline, chosen["x"] or "s", chosen["y"] or "m", chosen["facet"], at)


def best_cell(data: StudyData, metric: str, at: Mapping[str, Any]) -> tuple[Metric, CellSummary]:
    """The cell with the best median of a metric on the training set, among those where every seed finished.

    Raises ValueError where there is none, and for a metric per jump over several trainings: it says what to choose.
    """
    if data.table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to draw")
    chosen = known_metric(metric, data.table.columns)
    grid = {key: rising(values) for key, values in restrict(data.axes, at).items()}
    across = {
        key: values
        for key, values in grid.items()
        if key.startswith(("problem.", "network.", "training.")) and len(values) > 1
    }
    if chosen.per_jump and across:
        choices = "; ".join(f"{key}: {list_values(values)}" for key, values in across.items())
        raise ValueError(
            f"{metric} is comparable only within one problem, network and training; choose one value with at: {choices}"
        )
    column = chosen.column("train" if chosen.split else None)
    replicates = Replicates(data.table, grid, data.seeds)
    cells = list(replicates.summaries(column, higher_is_better=chosen.higher_is_better, recorded=True))
    complete = [cell for cell in cells if cell.complete]
    if not complete:
        diverged = sum(cell.n_diverged > 0 for cell in cells)
        raise ValueError(
            f"no cell has a finite {metric} on all {len(data.seeds)} seeds: there is nothing to draw "
            f"({len(cells)} cells, {diverged} of them with a diverged seed)"
        )
    pick = max if chosen.higher_is_better else min
    return chosen, pick(complete, key=lambda cell: cell.centre)


def cells_to_show(data: StudyData, at: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The cells whose training is looked at, by why: the best by final loss and by the paper's metric, if they differ.

    With every axis that varies in ``at`` the one cell chosen. Raises ValueError where no cell can be told.
    """
    grid = restrict(data.axes, at)
    if all(len(values) == 1 for values in grid.values()):
        return {"chosen": {key: values[0] for key, values in grid.items()}}
    found: dict[str, dict[str, Any]] = {}
    reasons = []
    for words, metric in (("best final loss", "final_loss_ratio"), ("best mean relative error", "mean_relative_error")):
        try:
            cell = best_cell(data, metric, at)[1].parameters
        except ValueError as reason:
            reasons.append(str(reason))
            continue
        if cell not in found.values():
            found[words] = cell
    if not found:
        raise ValueError("; ".join(dict.fromkeys(reasons)))
    return found
