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
