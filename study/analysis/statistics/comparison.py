"""Comparison of two studies: the cells they share, and how much a metric differs there, with intervals over seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.anova import MIN_SEEDS_FOR_INTERVALS, student_interval
from study.analysis.statistics.cells import CellSummary, Replicates, list_values, restrict, rising, value_key
from study.analysis.statistics.sensitivity import CAP
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import Metric, known_metric


@dataclass(frozen=True)
class StudyComparison:
    """Differences between two studies, over the cells and seeds that both have.

    The difference is second / first for a ratio or a loss (geometric mean over seeds), and second - first for other
    metrics. Its interval is a 95 % interval by Student's t from five seeds on; with fewer, it reaches from the lowest
    to the highest seed; with one seed it is NaN. Ratios are capped at 10, and a seed that diverged counts as 10, as in
    `sensitivity`: otherwise a few jumps that blow up would decide.

    Attributes:
        metric: Metric that is compared.
        names: Names of the two studies.
        seeds: Seeds that both have.
        frame: One row per common cell: its axes; ``first`` and ``second``, the medians over the common seeds;
            ``difference``, ``low`` and ``high``; ``n``, the number of seeds with a value in both; ``state_first`` and
            ``state_second``, the states of the cell.
        overall: Difference and interval of the mean over the cells where every common seed has a value in both.
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
    rows, paired = [], []
    for cell_key, cell in cells[0].items():
        other = cells[1][cell_key]
        differences = _differences(cell, other, chosen)
        paired.append(differences)
        difference, low, high = _interval(differences[np.isfinite(differences)], chosen)
        rows.append(
            {
                **{key: cell.parameters[key] for key in common},
                "first": cell.centre,
                "second": other.centre,
                "difference": difference,
                "low": low,
                "high": high,
                "n": int(np.isfinite(differences).sum()),
                "state_first": cell.state,
                "state_second": other.state,
            }
        )
    complete = [differences for differences in paired if np.isfinite(differences).all()]
    overall = _interval(np.mean(complete, axis=0), chosen) if complete else (math.nan,) * 3
    return StudyComparison(
        chosen, (first.name, second.name), seeds, pd.DataFrame(rows), overall, tuple(_notes(chosen, first, second))
    )


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


def _interval(differences: NDArray[np.float64], metric: Metric) -> tuple[float, float, float]:
    if not len(differences):
        return math.nan, math.nan, math.nan
    low = high = math.nan
    if len(differences) >= MIN_SEEDS_FOR_INTERVALS:
        low, high = (float(bound) for bound in student_interval(differences))
    elif len(differences) > 1:
        low, high = float(differences.min()), float(differences.max())
    numbers = (float(differences.mean()), low, high)
    if metric.scale in ("ratio", "log"):
        return math.exp(numbers[0]), math.exp(low), math.exp(high)
    return numbers


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
