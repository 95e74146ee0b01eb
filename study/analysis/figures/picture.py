"""Options of a figure, the finished picture, and the choice of the cells that it shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.analysis.statistics.cells import CellSummary, Replicates, list_values, restrict, rising, value_key
from study.analysis.statistics.shown_axes import choose_places
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import METRICS, Metric, known_metric


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files without an ending (``stem``), and the numbers it shows (``frame``)."""

    stem: str
    figure: Figure
    frame: pd.DataFrame


@dataclass(frozen=True)
class FigureOptions:
    """Options of a figure.

    Attributes:
        metric: Name of the metric, without ``_train`` / ``_test``.
        x: Axis of heatmaps drawn to the right.
        y: Axis of heatmaps drawn upwards; None for heatmaps of a single row.
        facet: Axis of heatmaps with one row of panels per value. Other axes that vary have rows of panels too.
        at: Axis values; only cells that have them are shown.
        open_metric: True if the metric was not asked for, so that a figure that it does not suit may show another.
    """

    metric: str = "mean_relative_error"
    x: str = "s"
    y: str | None = "m"
    facet: str | None = "tolerance"
    at: Mapping[str, Any] = field(default_factory=dict)
    open_metric: bool = field(default=False, compare=False)

    def stem(self, name: str) -> str:
        """Return a figure's file name; it ends in the metric's name, unless that is the paper's metric."""
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

    `choose_places` says which axes a heatmap shows. Slices of a metric per jump cannot follow an axis of the training:
    where no metric is named, they show the final loss ratio of such a study.

    Args:
        data: the study.
        metric: name without ``_train`` and ``_test``; by default the study's headline.
        x: axis of a heatmap to the right.
        y: axis of a heatmap upwards.
        facet: axis with one row of heatmaps per value.
        at: values of other axes to show; these axes are not chosen for a place.
    """
    at = dict(at or {})
    right, up, rows = choose_places(data.axes, x=x, y=y, facet=facet, at=at)
    right = right or next(iter(data.axes), "s")  # a study of no open axis, for which every figure says so
    return FigureOptions(metric or data.headline, right, up, rows, at, metric is None)


def comparable_metric(data: StudyData, options: FigureOptions) -> FigureOptions:
    """Return the options with a metric that compares all cells of the study, unless the metric was asked for.

    A metric per jump cannot compare cells of several problems, networks or trainings; the final loss ratio takes its
    place if the study has it.
    """
    metric, instead = METRICS.get(options.metric), "final_loss_ratio"
    open_axes = [key for key, values in restrict(data.axes, options.at).items() if len(values) > 1]
    several = any(key.startswith(("problem.", "network.", "training.")) for key in open_axes)
    recorded = f"{instead}_train" in data.table and bool(np.isfinite(data.table[f"{instead}_train"]).any())
    if options.open_metric and metric is not None and metric.per_jump and several and recorded:
        return replace(options, metric=instead)
    return options


def cell_in_the_middle(data: StudyData, metric: str, at: Mapping[str, Any]) -> tuple[str, Metric, CellSummary]:
    """Return the cell that a figure is drawn around: its name, the metric, and the cell's summary.

    It is the recommended cell. If that is not among those to show, it is the one with the lowest value of the metric.

    Args:
        data: Data of the study.
        metric: Name of the metric.
        at: Axis values; only cells that have them are considered.

    Raises:
        ValueError: No cell is complete, or a metric per jump would be compared over several trainings.
    """
    recommended = recommended_within(data, at)
    if recommended is None or metric not in METRICS:
        chosen, cell = lowest_cell(data, metric, at)
        return f"{'highest' if chosen.higher_is_better else 'lowest'} value", chosen, cell
    chosen = known_metric(metric, data.table.columns)
    grid = {key: [value] for key, value in recommended.items()}
    column = chosen.column("train" if chosen.split else None)
    summaries = Replicates(data.table, grid, data.seeds).summaries(column, higher_is_better=chosen.higher_is_better)
    return data.recommended_as, chosen, next(summaries)


def recommended_within(data: StudyData, at: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the study's recommended cell if it has these axis values, else None."""
    cell = data.recommended_cell
    if cell is None or any(value_key(cell[axis]) != value_key(value) for axis, value in at.items() if axis in cell):
        return None
    return cell


def lowest_cell(data: StudyData, metric: str, at: Mapping[str, Any]) -> tuple[Metric, CellSummary]:
    """Return the metric, and the complete cell with its best median over seeds on the training set.

    Args:
        data: Data of the study.
        metric: Name of the metric.
        at: Axis values; only cells that have them are considered.

    Raises:
        ValueError: No cell is complete, or a metric per jump would be compared over several trainings; the message
            then says which values to choose with ``at``.
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
    """Return the cells whose training is shown, by the reason: the recommended one, and the lowest error per jump.

    Where no cell is recommended, the lowest final loss ratio takes its place. A cell is returned once. If ``at`` fixes
    every axis that varies, only that cell is returned. Raises ValueError if no cell can be chosen.
    """
    grid = restrict(data.axes, at)
    if all(len(values) == 1 for values in grid.values()):
        return {"chosen": {key: values[0] for key, values in grid.items()}}
    chosen: dict[str, dict[str, Any]] = {}
    recommended, reasons = recommended_within(data, at), []
    candidates = [("lowest final loss ratio", "final_loss_ratio"), ("lowest error per jump", "mean_relative_error")]
    if recommended is not None:
        chosen[data.recommended_as] = recommended
        del candidates[0]
    for words, metric in candidates:
        try:
            cell = lowest_cell(data, metric, at)[1].parameters
        except ValueError as reason:
            reasons.append(str(reason))
            continue
        if cell not in chosen.values():
            chosen[words] = cell
    if not chosen:
        raise ValueError("; ".join(dict.fromkeys(reasons)))
    return chosen
