"""What a heatmap of the study shows, as numbers. Drawing is in `figures`."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.best_cell import NoChoice, means_and_standard_error
from study.analysis.statistics.cells import (
    Axes,
    CellSummary,
    Replicates,
    State,
    list_values,
    restrict,
    rising,
    value_key,
)
from study.replicates.metric_catalogue import Metric, known_metric

# Colours are spent on improvements: however bad the bad cells are, the largest improvement reaches half
# of the way to the darkest blue. Beyond the limits the last colour is used, and the colour bar has an arrow.
_LIMIT_PER_IMPROVEMENT = 2.0
_SMALLEST_LIMIT = math.log(1.01)  # ratios within a per cent of 1 look like 1
_SMALLEST_CAP = math.log(1.1)
_CAP_WITHOUT_IMPROVEMENT = math.log(10.0)

_MOST_FACETS = 16


@dataclass(frozen=True)
class Panel:
    """One heatmap. Arrays are (len(y), len(x)), y rising with the row."""

    facet_value: Any
    split: str | None
    cells: tuple[tuple[CellSummary, ...], ...]
    best: tuple[int, int] | None
    """(row, column) of the best cell, by the training set: best centre among the cells where every seed finished.

    The test set's panel marks the same cell, since selection must not use it. None if no cell is complete, or if the
    panel compares a metric per jump across problems, networks or trainings.
    """

    near: tuple[tuple[int, int], ...] = ()
    """Cells within one standard error of the best by the training set, as the rule of `best`, in this panel alone."""

    @property
    def values(self) -> NDArray[np.float64]:
        """Centres over seeds: nan where there is no value, ±inf where half of the seeds or more diverged."""
        return np.array([[cell.centre for cell in row] for row in self.cells], dtype=np.float64)

    @property
    def n_ok(self) -> NDArray[np.int64]:
        """Number of seeds that finished with a finite value."""
        return np.array([[cell.n_ok for cell in row] for row in self.cells], dtype=np.int64)

    @property
    def states(self) -> list[list[State]]:
        """What each cell is: ok, partial, diverged, infinite, failed, pruned or missing."""
        return [[cell.state for cell in row] for row in self.cells]


@dataclass(frozen=True)
class HeatmapData:
    """Panels, one row of them per value of the facet, train before test, and the colour limits they share."""

    metric: Metric
    x: str
    y: str
    facet: str | None
    x_values: list[Any]
    y_values: list[Any]
    panels: list[Panel]
    limits: tuple[float, float]
    """Smallest and largest value with a colour of its own; symmetric about 1 on the log scale for a ratio."""
    n_expected: int
    """Seeds per cell."""
    at: dict[str, Any] = field(default_factory=dict)
    """Other axes that vary in the study, and the value chosen here."""
    statistic: str = "median"
    """What a cell shows of its seeds."""

    def frame(self) -> pd.DataFrame:
        """The numbers behind the picture: one row per panel and cell."""
        rows = []
        for panel in self.panels:
            for i, row in enumerate(panel.cells):
                for j, cell in enumerate(row):
                    rows.append(
                        {
                            **cell.parameters,
                            "metric": self.metric.name,
                            "split": panel.split or "",
                            "centre": cell.centre,
                            "mean": cell.mean,
                            "spread": cell.spread,
                            "n_ok": cell.n_ok,
                            "n_diverged": cell.n_diverged,
                            "n_expected": cell.n_expected,
                            "state": cell.state,
                            "best": panel.best == (i, j),
                            "within_one_standard_error": (i, j) in panel.near,
                        }
                    )
        return pd.DataFrame(rows)


def heatmap_data(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    *,
    metric: str = "mean_relative_error",
    x: str = "s",
    y: str = "m",
    facet: str | None = "tolerance",
    at: Mapping[str, Any] | None = None,
) -> HeatmapData:
    """Reduce the table of replicates to heatmaps of one metric over two axes.

    Parameters
    ----------
    table
        One row per replicate: a column per axis, ``seed``, ``status`` and the metrics. Replicates that have not run are
        absent; rows outside ``axes`` and ``seeds`` are ignored.
    axes
        Axis key -> the study's values. Numbers are shown in rising order, others in the order given.
    seeds
        The study's seeds.
    metric
        Name without ``_train`` / ``_test``; default the paper's mean relative error (Tano et al. 2020, Figure 3).
    x, y
        Axes drawn to the right and upwards.
    facet
        Axis with one row of panels per value; None, or a study that does not vary the tolerance: one row.
    at
        The value to show of every other axis that has more than one.

    Raises
    ------
    ValueError
        Unknown metric, axis or value (with the valid ones); an axis left open; a single cell; no finite value at all.
    """
    if facet == "tolerance" and facet not in axes:
        facet = None
    _check_axes(axes, x, y, facet, at)
    grid = restrict(axes, at)
    open_axes = {key: values for key, values in grid.items() if key not in (x, y, facet) and len(values) > 1}
    if open_axes:
        choices = "; ".join(f"{key}: {list_values(values)}" for key, values in open_axes.items())
        raise ValueError(
            f"a heatmap shows {x}, {y} and one facet; choose a value of every other axis with at: {choices}"
        )
    if len(grid[x]) < 2 and len(grid[y]) < 2:
        raise ValueError(f"a heatmap needs an axis with two values or more; {x} and {y} have one each")
    if facet and len(grid[facet]) > _MOST_FACETS:
        raise ValueError(
            f"a heatmap shows up to {_MOST_FACETS} values of its facet, and {facet} has {len(grid[facet])}; choose one "
            f"with at, or another facet"
        )
    if table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to draw")
    chosen = known_metric(metric, table.columns)

    grid = {key: rising(values) for key, values in grid.items()}
    replicates = Replicates(table, grid, seeds)
    by_split = {
        split: list(replicates.summaries(chosen.column(split), higher_is_better=chosen.higher_is_better))
        for split in chosen.splits
    }
    across = [key for key in (x, y) if key.startswith(("problem.", "network.", "training.")) and len(grid[key]) > 1]
    panels: list[Panel] = []
    for facet_value in grid[facet] if facet else [None]:
        marked: tuple[int, int] | None = None
        near: tuple[tuple[int, int], ...] = ()
        for split, cells in by_split.items():
            rows = _arrange(cells, facet_value, facet, grid[x], grid[y], x, y)
            if split != "test" and not (chosen.per_jump and across):
                marked = _best(rows, chosen.higher_is_better)
                near = _near(rows, chosen)
            panels.append(Panel(facet_value, split, rows, marked, near))
    everything = [cell for panel in panels for row in panel.cells for cell in row]
    finite = np.array([cell.centre for cell in everything if math.isfinite(cell.centre)])
    if finite.size == 0:
        counts = ", ".join(f"{n} {state}" for state, n in Counter(cell.state for cell in everything).items())
        raise ValueError(f"no cell has a finite {metric}: there is nothing to draw (cells of all panels: {counts})")
    return HeatmapData(
        metric=chosen,
        x=x,
        y=y,
        facet=facet,
        x_values=grid[x],
        y_values=grid[y],
        panels=panels,
        limits=colour_limits(finite, chosen),
        n_expected=len(seeds),
        at={key: values[0] for key, values in grid.items() if key not in (x, y, facet) and len(axes[key]) > 1},
    )


def colour_limits(finite: NDArray[np.float64], metric: Metric) -> tuple[float, float]:
    """Smallest and largest value with a colour of its own, over all panels."""
    if metric.scale == "ratio":
        # exp() of the limit must stay a number, and a ratio of zero has no logarithm.
        logs = np.log(np.maximum(finite, np.finfo(np.float64).tiny))
        improvement = max(0.0, -float(logs.min()))
        cap = max(_LIMIT_PER_IMPROVEMENT * improvement, _SMALLEST_CAP) if improvement else _CAP_WITHOUT_IMPROVEMENT
        limit = min(max(float(np.abs(logs).max()), _SMALLEST_LIMIT), cap)
        return math.exp(-limit), math.exp(limit)
    if metric.scale == "signed":
        gain = max(0.0, float(finite.max()))
        limit = float(np.abs(finite).max()) or 1.0
        limit = min(limit, _LIMIT_PER_IMPROVEMENT * gain) if gain else limit
        return -limit, limit
    low, high = float(finite.min()), float(finite.max())
    if metric.scale == "log" and low > 0:
        return (low, high) if low < high else (low / 1.1, high * 1.1)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


Rows = tuple[tuple[CellSummary, ...], ...]


def _arrange(
    cells: Iterable[CellSummary],
    facet_value: Any,
    facet: str | None,
    x_values: list[Any],
    y_values: list[Any],
    x: str,
    y: str,
) -> Rows:
    where = {
        (value_key(cell.parameters[y]), value_key(cell.parameters[x])): cell
        for cell in cells
        if facet is None or value_key(cell.parameters[facet]) == value_key(facet_value)
    }
    return tuple(tuple(where[value_key(b), value_key(a)] for a in x_values) for b in y_values)


def _best(rows: Rows, higher_is_better: bool) -> tuple[int, int] | None:
    sign = -1.0 if higher_is_better else 1.0
    ranked = [(sign * c.centre, (i, j)) for i, row in enumerate(rows) for j, c in enumerate(row) if c.complete]
    return min(ranked)[1] if ranked else None


def _near(rows: Rows, metric: Metric) -> tuple[tuple[int, int], ...]:
    places = [(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell.complete]
    if metric.scale != "ratio" or not places:
        return ()
    try:
        means, error = means_and_standard_error([rows[i][j] for i, j in places], metric.name)
    except NoChoice:
        return ()
    return tuple(place for place, mean in zip(places, means, strict=True) if mean <= min(means) + error)


def spread_data(data: HeatmapData) -> HeatmapData:
    """The same panels with the spread over seeds in place of the centre: standard deviation / mean, in per cent.

    Raises ValueError where no cell has one, as with one seed.
    """
    metric = Metric(
        name=f"spread_of_{data.metric.name}",
        title=f"Spread of the {data.metric.title.lower()}",
        meaning="standard deviation over seeds / mean (%)",
        scale="log",
        split=data.metric.split,
        infinite="some seeds without a finite value",
    )
    panels = [
        replace(panel, cells=tuple(tuple(map(_spread, row)) for row in panel.cells), near=()) for panel in data.panels
    ]
    finite = np.array([cell.centre for panel in panels for row in panel.cells for cell in row])
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        raise ValueError(f"no cell has a spread of {data.metric.name}: that takes two seeds that both finished")
    limits = colour_limits(finite, metric)
    return replace(data, metric=metric, panels=panels, limits=limits, statistic="spread")


def _spread(cell: CellSummary) -> CellSummary:
    if cell.state == "ok":
        if not math.isfinite(cell.spread) or cell.mean == 0:
            return replace(cell, centre=math.nan, state="missing")
        return replace(cell, centre=100 * cell.spread / abs(cell.mean))
    return replace(cell, centre=math.nan, state="infinite" if cell.state in ("partial", "diverged") else cell.state)


def _check_axes(axes: Axes, x: str, y: str, facet: str | None, at: Mapping[str, Any] | None) -> None:
    shown = [x, y] if facet is None else [x, y, facet]
    for name in shown:
        if name not in axes:
            raise ValueError(f"x, y and facet must be axes of the study ({', '.join(axes)}); got {name!r}")
    if len(set(shown)) < len(shown):
        raise ValueError(f"x, y and facet must differ; got {', '.join(shown)}")
    for name in (x, y):
        if at and name in at:
            raise ValueError(f"at must not hold {name}, which the heatmap shows; choose other axes with x and y")
