"""Choice of the best cell by one metric, by two rules.

The cell that a study recommends is another: see `study.analysis.statistics.recommendation`.

| symbol | meaning | shape |
|---|---|---|
| y_ij | log of the metric in cell i with seed j | (cells, seeds) |
| a_i, b_j | effect of the cell, of the seed: y_ij = a_i + b_j + e_ij | |
| sigma | standard deviation of e_ij | |

Two cells with the same seeds share b_j, so the difference of their means has the standard error sigma sqrt(2/seeds).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.cells import Axes, CellSummary, Replicates, list_values, restrict
from study.analysis.statistics.gains import gains
from study.replicates.metric_catalogue import METRICS, SPLITS, known_metric

RULES = ("minimum", "one-standard-error")

METRICS_IN_DOCUMENT = ("mean_relative_error", "final_loss_ratio")
"""Metrics for which ``best.yaml`` holds the best cell."""

RANKED = tuple(name for name, metric in METRICS.items() if metric.scale == "ratio")
"""Metrics by which a best cell can be chosen."""

_MIN_SEEDS = 3


class NoChoice(ValueError):
    """The replicates do not allow a choice by this rule; the message says why."""


@dataclass(frozen=True)
class Choice:
    """The best cell by one metric and one rule.

    Values are medians over the study's seeds, on the training set except for ``value_test``. None means that the table
    does not hold the number, or that one seed cannot give it.

    Attributes:
        metric: Name of the metric.
        rule: Name of the rule.
        parameters: Axis key -> the cell's value.
        value: Value of the metric.
        value_test: Value of the metric on the test set.
        spread: Standard deviation of the metric over the seeds.
        seeds: Number of seeds.
        overhead: Cost with jumps / cost without.
        final_loss_ratio: Final loss / final loss of the same seed's baseline.
        of_cells: Number of complete cells that it was chosen from.
        low: Lower end of a 95 % interval of the metric's geometric mean over seeds, corrected for the choice.
        high: Upper end of it. Both are None with one seed, or if the metric is not positive in every complete cell.
        standard_error: Standard error of the difference of two cells' mean log metrics; one-standard-error rule only.
        qualifying: Number of cells within it of the lowest; one-standard-error rule only.
    """

    metric: str
    rule: str
    parameters: dict[str, Any]
    value: float
    value_test: float | None
    spread: float | None
    seeds: int
    overhead: float | None
    final_loss_ratio: float | None
    of_cells: int
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    qualifying: int | None = None


def best(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    *,
    metric: str = "mean_relative_error",
    rule: str = "minimum",
    at: Mapping[str, Any] | None = None,
) -> Choice:
    """Choose the best cell by its metric on the training set.

    Only cells where every seed finished with a finite value are considered. A cell with a diverged seed is never best.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        metric: Metric to minimise: a relative error per jump, or ``final_loss_ratio``.
        rule: ``minimum`` takes the lowest median over seeds; of equal ones, the one with the least overhead.
            ``one-standard-error`` takes, of the cells whose mean log metric lies within sigma sqrt(2/seeds) of the
            lowest, the one with the least overhead; of equal ones, the one with the lowest metric. sigma is the
            residual standard deviation of the model cell + seed over the cells whose median is below 1. This rule
            needs 3 seeds.
        at: Axis values; only cells that have them are considered.

    Raises:
        NoChoice: No cell is complete; there are too few seeds or cells for the rule; or a metric per jump would be
            compared over several problems, networks or trainings. The worst trained network has the easiest jumps, so
            one of each must be chosen with ``at``.
        ValueError: The metric, rule, axis or value is unknown; the message lists the valid ones.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}; got {rule!r}")
    grid = restrict(axes, at)
    if table.empty:
        raise NoChoice("the table has no replicates yet")
    absent = [f"{metric}_{split}" for split in SPLITS if f"{metric}_{split}" not in table.columns]
    if metric in RANKED and absent:
        raise NoChoice(f"the table has no column {', '.join(absent)}")
    chosen = known_metric(metric, table.columns, RANKED)
    if chosen.per_jump:
        _require_one_training(metric, grid)

    replicates = Replicates(table, grid, seeds)
    cells = list(replicates.summaries(chosen.column("train"), recorded=True))
    overheads = [cell.centre for cell in replicates.summaries("overhead", recorded=True)]
    complete = [k for k, cell in enumerate(cells) if cell.complete]
    if not complete:
        diverged = sum(cell.n_diverged > 0 for cell in cells)
        raise NoChoice(
            f"no cell has a finite {metric} on all {len(seeds)} seeds "
            f"({len(cells)} cells, {diverged} of them with a diverged seed)"
        )
    standard_error, qualifying = None, None
    # Costs that differ by rounding count as equal; an unknown cost comes last.
    costs = [float(f"{cost:.9g}") if math.isfinite(cost) else math.inf for cost in overheads]
    if rule == "minimum":
        k = min(complete, key=lambda k: (cells[k].centre, costs[k], k))
    else:
        means, standard_error = means_and_standard_error([cells[k] for k in complete], metric)
        near = [
            (costs[k], mean, k) for k, mean in zip(complete, means, strict=True) if mean <= min(means) + standard_error
        ]
        k, qualifying = min(near)[2], len(near)

    def centre(column: str) -> float | None:
        value = list(replicates.summaries(column, recorded=True))[k].centre
        return value if math.isfinite(value) else None

    low, high = _corrected([cells[k].values for k in complete], len(cells), complete.index(k))
    return Choice(
        metric=metric,
        rule=rule,
        parameters=cells[k].parameters,
        value=cells[k].centre,
        value_test=centre(chosen.column("test")),
        spread=cells[k].spread if math.isfinite(cells[k].spread) else None,
        seeds=len(seeds),
        overhead=overheads[k] if math.isfinite(overheads[k]) else None,
        final_loss_ratio=centre("final_loss_ratio_train"),
        of_cells=len(complete),
        low=low,
        high=high,
        standard_error=standard_error,
        qualifying=qualifying,
    )


def _corrected(values: Sequence[Sequence[float]], tried: int, place: int) -> tuple[float | None, float | None]:
    """Return the interval of the cell at this place of the complete ones: the best of many looks better than it is."""
    numbers = np.array(values, dtype=np.float64)
    bounds = gains(np.log(numbers), tried=tried) if (numbers > 0).all() else None
    if bounds is None:
        return None, None
    low, high = (math.exp(min(float(bound[place]), 700.0)) for bound in (bounds.low, bounds.high))
    return low, high


def _require_one_training(metric: str, grid: Mapping[str, list[Any]]) -> None:
    several = {
        key: values
        for key, values in grid.items()
        if key.startswith(("problem.", "network.", "training.")) and len(values) > 1
    }
    if several:
        choices = "; ".join(f"{key}: {list_values(values)}" for key, values in several.items())
        raise NoChoice(
            f"{metric} is comparable only within one problem, network and training, because a badly trained network "
            f"has the easiest jumps; choose one value with at: {choices}"
        )


def means_and_standard_error(cells: list[CellSummary], metric: str) -> tuple[list[float], float]:
    """Return the mean log metric of each cell, and the standard error of the difference of two of them."""
    seeds = cells[0].n_expected
    if seeds < _MIN_SEEDS:
        raise NoChoice(f"the rule needs at least {_MIN_SEEDS} seeds that all cells share; the study has {seeds}")
    values = np.array([cell.values for cell in cells], dtype=np.float64)
    if not (values > 0).all():
        raise NoChoice(f"the rule compares logarithms, but {metric} is not positive in every complete cell")
    logs = np.log(values)
    better = [cell.centre < 1 for cell in cells]
    if sum(better) < 2:
        raise NoChoice(
            f"the rule takes its standard error from the complete cells with {metric} below 1, and needs two or more; "
            f"there {'is one' if sum(better) == 1 else 'are none'}"
        )
    sigma = _residual_deviation(logs[better])
    return [float(mean) for mean in logs.mean(axis=1)], sigma * math.sqrt(2 / seeds)


def _residual_deviation(y: NDArray[np.float64]) -> float:
    """Return the residual standard deviation of y_ij = a_i + b_j; y is (cells, seeds), without missing values."""
    residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0, keepdims=True) + y.mean()
    freedom = (y.shape[0] - 1) * (y.shape[1] - 1)
    return math.sqrt(float((residual**2).sum()) / freedom)
