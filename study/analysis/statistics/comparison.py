"""Comparison of two studies: the cells they share, and how much a metric differs there, with intervals over seeds.

Two studies that do the same differ by noise in hundreds of cells. So the cells' intervals are those of `gains`: they
hold for all cells at once, and a cell that they tell apart differs by more than the luck of so many.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.cells import CellSummary, Replicates, list_values, restrict, rising, value_key
from study.analysis.statistics.gains import RISK, fresh_interval, gains
from study.analysis.statistics.sensitivity import CAP
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import Metric, known_metric

_LARGEST_LOG = 700.0  # with two seeds, intervals reach beyond the largest float


@dataclass(frozen=True)
class StudyComparison:
    """Differences between two studies, over the cells and seeds that both have.

    The difference is second / first for a ratio or a loss (geometric mean over seeds), and second - first for other
    metrics. The intervals of the cells hold for all cells at once, with at least 95 %; an interval of one cell alone
    would be much shorter. With one seed they are NaN. Ratios are capped at 10, and a seed that diverged counts as 10,
    as in `sensitivity`: otherwise a few jumps that blow up would decide.

    Attributes:
        metric: Metric that is compared.
        names: Names of the two studies.
        seeds: Seeds that both have.
        frame: One row per common cell: its axes; ``first`` and ``second``, the medians over the common seeds;
            ``difference``, ``low`` and ``high``; ``n``, the number of seeds with a value in both; ``state_first`` and
            ``state_second``, the states of the cell.
        overall: Difference and 95 % interval, by Student's t over seeds, of the mean over the cells where every common
            seed has a value in both. Where a few replicates in a hundred blow up, it holds in 85 to 91 %.
        notes: Sentences that a reader must know with the numbers.
    """

    metric: Metric
    names: tuple[str, str]
    seeds: tuple[int, ...]
    frame: pd.DataFrame
    overall: tuple[float, float, float]
    notes: tuple[str, ...] = ()

    @property
    def neutral(self) -> float:
        """Value that means no difference: 1 for a quotient, 0 for a difference."""
        return 1.0 if self.relative else 0.0

    @property
    def relative(self) -> bool:
        """True if differences are quotients."""
        return self.metric.scale in ("ratio", "log")

    def counted(self) -> dict[str, int]:
        """Count the cells where the second study is better, worse, or not told apart, by ``low`` and ``high``."""
        low, high = self.frame["low"], self.frame["high"]
        below, above = int((high < self.neutral).sum()), int((low > self.neutral).sum())
        better, worse = (above, below) if self.metric.higher_is_better else (below, above)
        return {"better": better, "worse": worse, "not told apart": len(self.frame) - better - worse}

    @property
    def by_luck(self) -> float:
        """Expected number of cells that luck alone would tell apart, at most; 0 if no cell has an interval."""
        return RISK if bool(self.frame["low"].notna().any()) else 0.0


def compare_studies(
    first: StudyData, second: StudyData, *, metric: str = "mean_relative_error", at: Mapping[str, Any] | None = None
) -> StudyComparison:
    """Compare two studies on the training set, cell by cell, with paired seeds.

    Args:
        first: One study.
        second: The other study.
        metric: Name of the metric, without ``_train``.
        at: Axis values; only cells that have them are compared. An axis that only one of the studies has must have
            one value, or be in ``at``.

    Raises:
        ValueError: The metric or an axis is unknown, or the studies share no cell or no seed.
    """
    at = dict(at or {})
    for data in (first, second):
        if data.table.empty:
            raise ValueError(f"{data.name} has no replicates yet: there is nothing to compare; run it first")
    in_both = set(first.table.columns) & set(second.table.columns)
    chosen = known_metric(metric, in_both)
    if unknown := [key for key in at if key not in {*first.axes, *second.axes}]:
        raise ValueError(f"at must name an axis of {first.name} or {second.name}; got {', '.join(map(repr, unknown))}")
    grids = [_grid(data, at) for data in (first, second)]
    common = [key for key in grids[0] if key in grids[1]]
    open_axes = {key: values for grid in grids for key, values in grid.items() if key not in common and len(values) > 1}
    if open_axes:
        choices = "; ".join(f"{key}: {list_values(values)}" for key, values in open_axes.items())
        raise ValueError(f"an axis that only one study has must be held at one value, chosen with at: {choices}")
    for key in common:
        keys = {value_key(value) for value in grids[1][key]}
        shared = [value for value in grids[0][key] if value_key(value) in keys]
        if not shared:
            values = "; ".join(f"{d.name}: {list_values(g[key])}" for d, g in zip((first, second), grids, strict=True))
            raise ValueError(f"the studies must share a value of {key}; they have {values}")
        for grid in grids:
            grid[key] = shared
    seeds = tuple(seed for seed in first.seeds if seed in second.seeds)
    if not seeds:
        raise ValueError(
            f"{first.name} and {second.name} share no seed, so no two replicates can be paired "
            f"({first.name}: {list_values(first.seeds)}; {second.name}: {list_values(second.seeds)})"
        )
    cells = [
        _cells_by_key(Replicates(data.table, grid, seeds), chosen, common)
        for data, grid in zip((first, second), grids, strict=True)
    ]
    pairs = [(cell, cells[1][cell_key]) for cell_key, cell in cells[0].items()]
    differences = np.array([_differences(cell, other, chosen) for cell, other in pairs])
    known = np.isfinite(differences)
    centre, low, high = (_in_units(bound, chosen) for bound in _intervals(differences, known))
    rows = [
        {
            **{key: cell.parameters[key] for key in common},
            "first": cell.centre,
            "second": other.centre,
            "difference": centre[k],
            "low": low[k],
            "high": high[k],
            "n": int(known[k].sum()),
            "state_first": cell.state,
            "state_second": other.state,
        }
        for k, (cell, other) in enumerate(pairs)
    ]
    complete = differences[known.all(axis=1)]
    overall = fresh_interval(complete.mean(axis=0)) if len(complete) else (math.nan,) * 3
    mean, lowest, highest = _in_units(np.array(overall), chosen).tolist()
    notes = tuple(_notes(chosen, first, second))
    frame = pd.DataFrame(rows)
    return StudyComparison(chosen, (first.name, second.name), seeds, frame, (mean, lowest, highest), notes)


def _grid(data: StudyData, at: Mapping[str, Any]) -> dict[str, list[Any]]:
    known = {key: value for key, value in at.items() if key in data.axes}
    return {key: rising(values) for key, values in restrict(data.axes, known).items()}


def _cells_by_key(replicates: Replicates, metric: Metric, common: list[str]) -> dict[tuple[Any, ...], CellSummary]:
    """Return the summaries of cells by the values of their common axes."""
    column = metric.column("train" if metric.split else None)
    cells = replicates.summaries(column, higher_is_better=metric.higher_is_better)
    return {tuple(value_key(cell.parameters[key]) for key in common): cell for cell in cells}


def _differences(first: CellSummary, second: CellSummary, metric: Metric) -> NDArray[np.float64]:
    """Return log(second / first), or second - first, of each seed; NaN if a value is missing or cannot be compared."""
    a, b = np.array(first.values, dtype=np.float64), np.array(second.values, dtype=np.float64)
    if metric.scale == "ratio":
        a, b = np.minimum(a, CAP), np.minimum(b, CAP)
    if metric.scale in ("ratio", "log"):
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = np.log(a), np.log(b)
    known = np.isfinite(a) & np.isfinite(b)
    return np.where(known, np.where(known, b, 0.0) - np.where(known, a, 0.0), np.nan)


def _intervals(
    differences: NDArray[np.float64], known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, low and high of every cell, from the values that are known; all are (cells, seeds).

    A cell that lacks a seed has an interval by its own variance, because its seeds are not those of the others.
    """
    counts = known.sum(axis=1)
    mean, low, high = np.full((3, len(differences)), np.nan)
    tried = int((counts > 1).sum())
    complete = known.all(axis=1)
    groups = [complete] if complete.any() else []
    groups += [np.arange(len(differences)) == k for k in np.flatnonzero((counts > 0) & ~complete)]
    for group in groups:
        y = differences[group][:, known[group][0]]
        mean[group] = y.mean(axis=1)
        result = gains(y, tried=max(tried, len(y)))
        if result is not None:
            low[group], high[group] = result.low, result.high
    return mean, low, high


def _in_units(values: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return quotients from logarithms; other differences as they are."""
    if metric.scale in ("ratio", "log"):
        return np.exp(np.clip(values, -_LARGEST_LOG, _LARGEST_LOG))
    return values


def _notes(metric: Metric, first: StudyData, second: StudyData) -> list[str]:
    notes = []
    if metric.per_jump:
        notes.append(
            f"{metric.name} is a ratio per jump: it does not say which of two problems, networks or trainings is "
            "better, because a badly trained network has the easiest jumps."
        )
    if first.probed != second.probed:
        notes.append("One study only judged its jumps, the other took them: they answer different questions.")
    return notes
