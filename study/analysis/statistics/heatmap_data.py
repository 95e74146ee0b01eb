"""Numbers that a heatmap of the study shows. Drawing is in `study.analysis.figures.heatmap`."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
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
from study.analysis.statistics.shown_axes import one_value_each
from study.replicates.metric_catalogue import Metric, known_metric

# The colour scale is chosen for the improvements: however bad the bad cells are, the largest improvement reaches half
# of the way to the darkest blue. Values beyond the limits get the last colour, and the colour bar an arrow.
_LIMIT_PER_IMPROVEMENT = 2.0
_SMALLEST_LIMIT = math.log(1.01)  # ratios within one per cent of 1 look like 1
_SMALLEST_CAP = math.log(1.1)
_CAP_WITHOUT_IMPROVEMENT = math.log(10.0)

_MAX_FACETS = 16


@dataclass(frozen=True)
class Panel:
    """One heatmap. Arrays are (len(y), len(x)); y rises with the row.

    Attributes:
        facets: Facet axis -> its value here; empty without a facet.
        split: ``train`` or ``test``; None for a metric that has no splits.
        cells: Cell summaries.
        lowest: Row and column of the cell with the best centre of this panel by the training set, among the complete
            cells; for most metrics the lowest. The panel of the test set marks the same cell, because the choice must
            not use the test set. None if no cell is complete, or if the panel compares a metric per jump across
            problems, networks or trainings.
        near: Rows and columns of the cells within one standard error of it by the training set, by the rule of `best`,
            applied to this panel alone.
        recommended: Row and column of the study's recommended cell; None if it is not in this panel.
    """

    facets: dict[str, Any]
    split: str | None
    cells: tuple[tuple[CellSummary, ...], ...]
    lowest: tuple[int, int] | None
    near: tuple[tuple[int, int], ...] = ()
    recommended: tuple[int, int] | None = None

    @property
    def values(self) -> NDArray[np.float64]:
        """Centres of the cells: nan if there is no value, ±inf if half of the seeds or more diverged."""
        return np.array([[cell.centre for cell in row] for row in self.cells], dtype=np.float64)

    @property
    def n_ok(self) -> NDArray[np.int64]:
        """Number of seeds that finished with a finite value."""
        return np.array([[cell.n_ok for cell in row] for row in self.cells], dtype=np.int64)

    @property
    def states(self) -> list[list[State]]:
        """State of each cell: ok, partial, diverged, infinite, failed, pruned or missing."""
        return [[cell.state for cell in row] for row in self.cells]


@dataclass(frozen=True)
class HeatmapData:
    """Heatmaps of one metric, and the colour limits they share.

    Attributes:
        metric: Metric that is shown.
        x: Axis drawn to the right.
        y: Axis drawn upwards; None for panels of a single row.
        facets: Axes with one row of panels per combination of their values; empty for a single row.
        x_values: Values of ``x``, in the order drawn.
        y_values: Values of ``y``, in the order drawn; one None without ``y``.
        panels: Heatmaps, row by row; in each row the training set comes before the test set.
        limits: Smallest and largest value with a colour of its own; for a ratio, symmetric about 1 on the log scale.
        n_expected: Number of seeds per cell.
        at: Other axes that vary in the study -> the value shown here.
        statistic: Name of the number that a cell shows: ``median`` or ``spread``.
        recommended_as: Name of the recommended cell in the legend.
    """

    metric: Metric
    x: str
    y: str | None
    facets: tuple[str, ...]
    x_values: list[Any]
    y_values: list[Any]
    panels: list[Panel]
    limits: tuple[float, float]
    n_expected: int
    at: dict[str, Any] = field(default_factory=dict)
    statistic: str = "median"
    recommended_as: str = "recommended cell"

    def frame(self) -> pd.DataFrame:
        """Return the numbers behind the picture, one row per panel and cell."""
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
                            "recommended": panel.recommended == (i, j),
                            "best_of_panel": panel.lowest == (i, j),
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
    y: str | None = "m",
    facet: str | None = "tolerance",
    at: Mapping[str, Any] | None = None,
    recommended: Mapping[str, Any] | None = None,
    recommended_as: str = "recommended cell",
) -> HeatmapData:
    """Reduce the table of replicates to heatmaps of one metric over two axes, or over one.

    Args:
        table: One row per replicate: a column per axis, ``seed``, ``status`` and the metrics. Replicates that have not
            run are absent. Rows outside ``axes`` and ``seeds`` are ignored.
        axes: Axis key -> the study's values. Numbers are shown in rising order, other values in the order given.
        seeds: The study's seeds.
        metric: Name of the metric, without ``_train`` / ``_test``. The default is the paper's mean relative error
            (Tano et al. 2020, Figure 3).
        x: Axis drawn to the right.
        y: Axis drawn upwards; None for panels of a single row.
        facet: Axis with one row of panels per value; by default the tolerance, if the study has that axis. Every other
            axis of several values that is not in ``at`` has rows of panels too.
        at: Axis -> the value to show.
        recommended: The study's recommended cell, which is marked; None for no mark.
        recommended_as: Its name in the legend.

    Raises:
        ValueError: A metric, axis or value is unknown (the message lists the valid ones); there would be too many
            panels; there is a single cell; or no value is finite.
    """
    if facet == "tolerance" and facet not in axes:
        facet = None
    _check_axes(axes, x, y, facet, at)
    grid = restrict(axes, at)
    shown = [x] if y is None else [x, y]
    if all(len(grid[axis]) < 2 for axis in shown):
        raise ValueError(f"a heatmap needs an axis with two values or more; {one_value_each(shown)}")
    varying = (axis for axis, values in grid.items() if axis not in (*shown, facet) and len(values) > 1)
    facets = (*([facet] if facet else []), *varying)
    if math.prod(len(grid[axis]) for axis in facets) > _MAX_FACETS:
        choices = "; ".join(f"{axis}: {list_values(grid[axis])}" for axis in facets if len(grid[axis]) > 1)
        raise ValueError(
            f"a heatmap shows {' and '.join(shown)}, with up to {_MAX_FACETS} rows of panels for the other axes, which "
            f"have {' x '.join(str(len(grid[axis])) for axis in facets)} values; choose values with at: {choices}"
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
    across = [key for key in shown if key.startswith(("problem.", "network.", "training.")) and len(grid[key]) > 1]
    y_values = [None] if y is None else grid[y]
    panels: list[Panel] = []
    for values in product(*(grid[axis] for axis in facets)):
        facet_values = dict(zip(facets, values, strict=True))
        marked: tuple[int, int] | None = None
        near: tuple[tuple[int, int], ...] = ()
        for split, cells in by_split.items():
            rows = _arrange(cells, facet_values, grid[x], y_values, x, y)
            if split != "test" and not (chosen.per_jump and across):
                marked = _best(rows, chosen.higher_is_better)
                near = _near(rows, chosen)
            panels.append(Panel(facet_values, split, rows, marked, near, _place(rows, recommended)))
    everything = [cell for panel in panels for row in panel.cells for cell in row]
    finite = np.array([cell.centre for cell in everything if math.isfinite(cell.centre)])
    if finite.size == 0:
        counts = ", ".join(f"{n} {state}" for state, n in Counter(cell.state for cell in everything).items())
        raise ValueError(f"no cell has a finite {metric}: there is nothing to draw (cells of all panels: {counts})")
    return HeatmapData(
        metric=chosen,
        x=x,
        y=y,
        facets=facets,
        x_values=grid[x],
        y_values=y_values,
        panels=panels,
        limits=colour_limits(finite, chosen),
        n_expected=len(seeds),
        at={key: values[0] for key, values in grid.items() if key not in (*shown, *facets) and len(axes[key]) > 1},
        recommended_as=recommended_as,
    )


def colour_limits(finite: NDArray[np.float64], metric: Metric) -> tuple[float, float]:
    """Return the smallest and the largest value with a colour of its own, shared by all panels."""
    if metric.scale == "ratio":
        # A ratio of zero has no logarithm, and exp() of the limit must stay finite.
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
"""Cells of a panel, row by row."""


def _arrange(
    cells: Iterable[CellSummary],
    facet_values: Mapping[str, Any],
    x_values: list[Any],
    y_values: list[Any],
    x: str,
    y: str | None,
) -> Rows:
    wanted = {axis: value_key(value) for axis, value in facet_values.items()}
    by_position = {
        (value_key(cell.parameters[y]) if y else None, value_key(cell.parameters[x])): cell
        for cell in cells
        if all(value_key(cell.parameters[axis]) == key for axis, key in wanted.items())
    }
    return tuple(tuple(by_position[value_key(b), value_key(a)] for a in x_values) for b in y_values)


def _best(rows: Rows, higher_is_better: bool) -> tuple[int, int] | None:
    sign = -1.0 if higher_is_better else 1.0
    ranked = [(sign * c.centre, (i, j)) for i, row in enumerate(rows) for j, c in enumerate(row) if c.complete]
    return min(ranked)[1] if ranked else None


def _place(rows: Rows, cell: Mapping[str, Any] | None) -> tuple[int, int] | None:
    """Return the row and column of a cell; None if it is not among these."""
    wanted = {} if cell is None else {key: value_key(value) for key, value in cell.items()}
    for i, row in enumerate(rows):
        for j, summary in enumerate(row):
            if wanted == {key: value_key(value) for key, value in summary.parameters.items()}:
                return i, j
    return None


def _near(rows: Rows, metric: Metric) -> tuple[tuple[int, int], ...]:
    complete = [(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell.complete]
    if metric.scale != "ratio" or not complete:
        return ()
    try:
        means, error = means_and_standard_error([rows[i][j] for i, j in complete], metric.name)
    except NoChoice:
        return ()
    return tuple(position for position, mean in zip(complete, means, strict=True) if mean <= min(means) + error)


def spread_data(data: HeatmapData) -> HeatmapData:
    """Replace the centre of each cell by its spread over seeds: standard deviation / mean, in per cent.

    Raises ValueError if no cell has a spread, as in a study with one seed.
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
        raise ValueError(f"no cell has a spread of {data.metric.name}: a spread needs two seeds that both finished")
    limits = colour_limits(finite, metric)
    return replace(data, metric=metric, panels=panels, limits=limits, statistic="spread")


def _spread(cell: CellSummary) -> CellSummary:
    if cell.state == "ok":
        if not math.isfinite(cell.spread) or cell.mean == 0:
            return replace(cell, centre=math.nan, state="missing")
        return replace(cell, centre=100 * cell.spread / abs(cell.mean))
    return replace(cell, centre=math.nan, state="infinite" if cell.state in ("partial", "diverged") else cell.state)


def _check_axes(axes: Axes, x: str, y: str | None, facet: str | None, at: Mapping[str, Any] | None) -> None:
    shown = [axis for axis in (x, y, facet) if axis is not None]
    for name in shown:
        if name not in axes:
            raise ValueError(f"x, y and facet must be axes of the study ({', '.join(axes)}); got {name!r}")
    if len(set(shown)) < len(shown):
        raise ValueError(f"x, y and facet must differ; got {', '.join(shown)}")
    for axis in (x, y):
        if axis is not None and at and axis in at:
            raise ValueError(f"at must not hold {axis}, which the heatmap shows; choose other axes with x and y")
