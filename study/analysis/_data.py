"""What a figure is made of and what it becomes: a study's replicates in, a figure and the numbers behind it out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from study.analysis._cells import Axes, CellSummary, Replicates, list_values, restrict, rising, value_key
from study.catalogue import Metric, known_metric


@dataclass(frozen=True)
class StudyData:
    """A study as the figures need it.

    ``table``: as in `heatmap_data`. ``rows``: gives every replicate, baselines too, with its jumps and loss curves (as
    `study.record.Record.details`); called once, and only by figures that need it. ``probed``: its jumps were judged,
    not taken. ``spectrum``: gives the eigenvalues of the jumps of one cell and seed, which the record does not hold, as
    a frame of ``epoch``, ``real``, ``imag``; None where they must not be made. ``sampled``: of a study whose cells are
    samples, as of `sobol_indices`; None of a grid or a search.
    """

    name: str
    table: pd.DataFrame
    axes: Axes
    seeds: Sequence[int]
    rows: Callable[[], Iterable[Mapping[str, Any]]] = field(repr=False)
    probed: bool = False
    spectrum: Callable[[Mapping[str, Any], int], pd.DataFrame] | None = field(default=None, repr=False)
    sampled: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)

    @cached_property
    def details(self) -> list[Mapping[str, Any]]:
        """Every replicate with its jumps and curves."""
        return list(self.rows())

    @property
    def title(self) -> str:
        """The study's name as a figure's title begins with it."""
        return f"{self.name}, probed: jumps judged, not taken" if self.probed else self.name

    def replicates(self, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The replicates of a cell by seed, with their jumps and curves; only those that trained."""
        return self._matching("cell", cell)

    def baselines(self, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The baselines of a cell by seed, likewise."""
        return self._matching("baseline", cell)

    def _matching(self, kind: str, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        wanted = {key: value_key(value) for key, value in cell.items()}
        found = [
            row
            for row in self.details
            if row["kind"] == kind
            and row["seed"] in set(self.seeds)
            and row["status"] in ("finished", "diverged")
            and all(value_key(value) == wanted[key] for key, value in row["cell"].items() if key in wanted)
        ]
        return sorted(found, key=lambda row: self.seeds.index(row["seed"]))


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its files without an ending, and the numbers it shows."""

    stem: str
    figure: Figure
    frame: pd.DataFrame


@dataclass(frozen=True)
class Options:
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
