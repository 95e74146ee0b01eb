"""Two studies side by side: the cells they share, and how much a metric differs there, with intervals over seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.anova import FEWEST_SEEDS_FOR_INTERVALS, student_interval
from study.analysis.statistics.cells import CellSummary, Replicates, list_values, restrict, rising, value_key
from study.analysis.statistics.sensitivity import CAP
from study.analysis.statistics.study_data import StudyData
from study.replicates.metric_catalogue import Metric, known_metric


@dataclass(frozen=True)
class StudyComparison:
    """What two studies, ``first`` and ``second``, say of the cells and seeds that both have.

    ``frame``: one row per common cell: its axes; ``first``, ``second``: medians over the common seeds; ``difference``,
    ``low``, ``high``: second / first for a ratio or a loss (geometric mean over the seeds that finished in
    both), second - first for others; ``n``: those seeds. Intervals are 95 % by Student's t from five seeds on, below
    the lowest and the highest seed; NaN with one. Ratios are held at 10, and so is a seed that diverged, as in
    `sensitivity`: else a few jumps that blow up decide. ``overall``: the same of the mean over the cells where every
    common seed has both values.
    """

    metric: Metric
    names: tuple[str, str]
    seeds: tuple[int, ...]
    frame: pd.DataFrame
    overall: tuple[float, float, float]
    notes: tuple[str, ...] = ()

    @property
    def neutral(self) -> float:
        """The difference of equals: 1 for a quotient, 0 for a difference."""
        return 1.0 if self.relative else 0.0

    @property
    def relative(self) -> bool:
        """Whether differences are quotients."""
        return self.metric.scale in ("ratio", "log")

    def counted(self) -> dict[str, int]:
        """Number of cells where the second is better, worse, or not told apart, by ``low`` and ``high``."""
        low, high = self.frame["low"], self.frame["high"]
        below, above = int((high < self.neutral).sum()), int((low > self.neutral).sum())
        better, worse = (above, below) if self.metric.higher_is_better else (below, above)
        return {"better": better, "worse": worse, "not told apart": len(self.frame) - better - worse}


def compare_studies(
    first: StudyData, second: StudyData, *, metric: str = "mean_relative_error", at: Mapping[str, Any] | None = None
) -> StudyComparison:
    """Compare two studies on the training set, cell by cell, seeds paired.

    An axis that only one of them has must have one value there, or one chosen with ``at``. Raises ValueError where the
    metric or axis is in neither, or no cell or seed is in both.
    """
    at = dict(at or {})
    for data in (first, second):
        if data.table.empty:
            raise ValueError(f"{data.name} has no replicates yet: there is nothing to compare")
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
            there = "; ".join(f"{d.name}: {list_values(g[key])}" for d, g in zip((first, second), grids, strict=True))
            raise ValueError(f"the studies share no value of {key} ({there})")
        for grid in grids:
            grid[key] = shared
    seeds = tuple(seed for seed in first.seeds if seed in second.seeds)
    if not seeds:
        raise ValueError(f"{first.name} and {second.name} share no seed, so that no two replicates can be paired")
    cells = [
        _by_common(Replicates(data.table, grid, seeds), chosen, common)
        for data, grid in zip((first, second), grids, strict=True)
    ]
    rows, paired = [], []
    for name, one in cells[0].items():
        other = cells[1][name]
        differences = _differences(one, other, chosen)
        paired.append(differences)
        difference, low, high = _interval(differences[np.isfinite(differences)], chosen)
        rows.append(
            {
                **{key: one.parameters[key] for key in common},
                "first": one.centre,
                "second": other.centre,
                "difference": difference,
                "low": low,
                "high": high,
                "n": int(np.isfinite(differences).sum()),
                "state_first": one.state,
                "state_second": other.state,
            }
        )
    complete = [differences for differences in paired if np.isfinite(differences).all()]
    overall = _interval(np.mean(complete, axis=0), chosen) if complete else (math.nan,) * 3
    return StudyComparison(
        chosen, (first.name, second.name), seeds, pd.DataFrame(rows), overall, tuple(_notes(chosen, first, second))
    )


def _grid(data: StudyData, at: Mapping[str, Any]) -> dict[str, list[Any]]:
    own = {key: value for key, value in at.items() if key in data.axes}
    return {key: rising(values) for key, values in restrict(data.axes, own).items()}


def _by_common(replicates: Replicates, metric: Metric, common: list[str]) -> dict[tuple[Any, ...], CellSummary]:
    column = metric.column("train" if metric.split else None)
    cells = replicates.summaries(column, higher_is_better=metric.higher_is_better)
    return {tuple(value_key(cell.parameters[key]) for key in common): cell for cell in cells}


def _differences(one: CellSummary, other: CellSummary, metric: Metric) -> NDArray[np.float64]:
    """Per seed: log(second / first), or second - first; NaN where either has no value that can be compared."""
    a, b = np.array(one.values, dtype=np.float64), np.array(other.values, dtype=np.float64)
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
    if len(differences) >= FEWEST_SEEDS_FOR_INTERVALS:
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
            f"{metric.name} is a ratio per jump: between different problems, networks or trainings it does not say "
            "which is better, because a badly trained network has the easiest jumps."
        )
    if first.probed != second.probed:
        notes.append("One study's jumps were judged, the other's taken: they answer different questions.")
    return notes
