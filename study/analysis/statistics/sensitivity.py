"""Sensitivity of a metric to the axes of a study: functional ANOVA over its grid, and effect curves."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.anova import MIN_SEEDS_FOR_INTERVALS, Decomposition, decompose, student_interval
from study.analysis.statistics.cells import Axes, Replicates, list_values, restrict, rising
from study.analysis.statistics.shown_axes import one_value_each
from study.replicates.metric_catalogue import Metric, known_metric

CAP = 10.0
"""Ratio at which the metric is capped, so that the size of a failure does not decide which axes matter."""


@dataclass(frozen=True)
class Curve:
    """Mean of the metric at each value of one axis, over all values of the other axes. Arrays are (values,).

    Attributes:
        axis: Key of the axis.
        values: Values of the axis.
        mean: Mean of the metric; geometric for a ratio or a loss.
        low: Lower end of the 95 % interval over seeds by Student's t, from five seeds on; with fewer seeds, the lowest
            seed; None with one seed. Where a few replicates in a hundred blow up, it holds in 85 to 91 %.
        high: Upper end of the interval, or the highest seed.
    """

    axis: str
    values: tuple[Any, ...]
    mean: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of one metric of a study to its axes.

    Attributes:
        metric: Metric that is decomposed.
        split: ``train`` or ``test``; None for a metric that has no splits.
        axes: Axes that vary -> their values.
        at: Other axes that vary in the study -> the value chosen.
        cells: Number of cells.
        seeds: Number of seeds.
        shares: Shares of the variance between cells of the metric (of its logarithm, for a ratio or a loss).
        diverged: Shares of the variance of the indicator that a replicate diverged; None if all or none did.
        curves: Effect of each axis that varies.
        cap: Value that replaces every worse one and diverged replicates, in the metric's own units.
        n_capped: Number of finished replicates that are worse than the cap.
        n_diverged: Number of diverged replicates.
        n_cells_at_cap: Number of cells with a replicate that is capped or diverged.
        unavailable: Reason why there are no shares and curves; None if there are.
        notes: Sentences that a reader must know with the numbers.
    """

    metric: Metric
    split: str | None
    axes: dict[str, tuple[Any, ...]]
    at: dict[str, Any]
    cells: int
    seeds: int
    shares: Decomposition | None = None
    diverged: Decomposition | None = None
    curves: tuple[Curve, ...] = ()
    cap: float | None = None
    n_capped: int = 0
    n_diverged: int = 0
    n_cells_at_cap: int = 0
    unavailable: str | None = None
    notes: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """Return one row per share, of the metric and of the diverged indicator."""
        rows = []
        for name, decomposition in ((self.metric.name, self.shares), ("diverged", self.diverged)):
            for share in decomposition.shares if decomposition else ():
                rows.append(
                    {
                        "of": name,
                        "term": share.name,
                        "share": share.share,
                        "low": share.low,
                        "high": share.high,
                        "share_with_noise": share.raw,
                        "degrees_of_freedom": share.degrees,
                        **{f"without_seed_{k}": value for k, value in enumerate(share.leave_one_out)},
                    }
                )
        return pd.DataFrame(rows)


def sensitivity(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    *,
    metric: str = "mean_relative_error",
    split: Literal["train", "test"] = "train",
    at: Mapping[str, Any] | None = None,
) -> Sensitivity:
    """Decompose the variance of a metric over the full grid of a study.

    Ratios and losses are decomposed as logarithms; other metrics as they are. Ratios are capped at 10 and losses at 10
    times their median, because otherwise a few jumps that blow up would decide. A diverged replicate counts as the cap
    (for other metrics: as the worst finite value of the study), so that the grid stays complete.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        metric: Name of the metric, without ``_train`` / ``_test``.
        split: ``train`` or ``test``; ignored for a metric that has no splits.
        at: Axis values; only cells that have them are decomposed.

    Raises:
        ValueError: A metric, axis or value is unknown (the message lists the valid ones); the table is empty; or no
            axis has two values.
    """
    if table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to decompose")
    chosen = known_metric(metric, table.columns)
    grid = {key: rising(values) for key, values in restrict(axes, at).items()}
    varying = {key: values for key, values in grid.items() if len(values) > 1}
    if not varying:
        raise ValueError(f"sensitivity needs an axis with two values or more; {one_value_each(axes)}")
    split_or_none = split if chosen.split else None
    result = Sensitivity(
        metric=chosen,
        split=split_or_none,
        axes={key: tuple(values) for key, values in varying.items()},
        at={key: values[0] for key, values in grid.items() if key not in varying and len(axes[key]) > 1},
        cells=math.prod(map(len, grid.values())),
        seeds=len(seeds),
    )
    try:
        values = grid_values(table, grid, seeds, chosen, split_or_none)
    except NoIndices as reason:
        return replace(result, unavailable=str(reason))
    shape = (*map(len, varying.values()), len(seeds))
    y = values.y.reshape(shape)
    shares = decompose(y, list(varying))
    if shares is None:
        return replace(result, unavailable=f"{metric} is the same in every cell: there is no variance to decompose")
    return replace(
        result,
        shares=shares,
        diverged=decompose(values.diverged.astype(np.float64).reshape(shape), list(varying)),
        curves=_curves(y, varying, chosen),
        cap=values.cap,
        n_capped=int(values.capped.sum()),
        n_diverged=int(values.diverged.sum()),
        n_cells_at_cap=int((values.capped | values.diverged).any(axis=1).sum()),
        notes=tuple(_notes(chosen, varying, len(seeds))),
    )


class NoIndices(ValueError):
    """The replicates do not fill the grid, or have no values to decompose; the message says what is missing."""


@dataclass(frozen=True)
class GridValues:
    """Numbers that are decomposed. Arrays are (cells, seeds); the last axis of the grid varies fastest.

    Attributes:
        cells: Parameters of each cell.
        y: Metric or its logarithm, capped.
        diverged: True for a replicate that diverged.
        capped: True for a finished replicate that the cap replaces.
        cap: Cap, in the metric's own units.
    """

    cells: tuple[dict[str, Any], ...]
    y: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    capped: NDArray[np.bool_]
    cap: float


def grid_values(
    table: pd.DataFrame, axes: Axes, seeds: Sequence[int], metric: Metric, split: str | None, cells: int | None = None
) -> GridValues:
    """Return the number of every replicate, on the scale that `sensitivity` decomposes.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> values.
        seeds: The study's seeds.
        metric: Metric to decompose.
        split: ``train`` or ``test``; None for a metric that has no splits.
        cells: Number of cells, if they are samples; None if they are all combinations of the axis values.

    Raises:
        NoIndices: A replicate has no value, or none can be decomposed.
    """
    summaries = Replicates(table, axes, seeds).summaries(
        metric.column(split), higher_is_better=metric.higher_is_better, recorded=True
    )
    recorded = list(summaries)
    values = np.array([cell.values for cell in recorded], dtype=np.float64).reshape(len(recorded), len(seeds))
    statuses = np.array([cell.statuses for cell in recorded], dtype=str).reshape(values.shape)
    diverged = statuses == "diverged"
    counts = Counter("without a value" if s == "finished" else s for s in statuses[np.isnan(values)].tolist())
    expected = math.prod(map(len, axes.values())) if cells is None else cells
    counts["missing"] += (expected - len(recorded)) * len(seeds)
    if holes := counts.total():
        raise NoIndices(
            f"{holes} of {expected * len(seeds)} replicates have no {metric.name} "
            f"({', '.join(f'{n} {status}' for status, n in counts.items() if n)}); "
            f"on an incomplete {'grid' if cells is None else 'design'}, the shares of the axes cannot be separated"
        )
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise NoIndices(f"no replicate has a finite {metric.name} ({diverged.sum()} of {diverged.size} diverged)")
    logarithmic = metric.scale in ("ratio", "log")
    if logarithmic and (not_positive := int((finite <= 0).sum())):
        raise NoIndices(
            f"{metric.name} is decomposed as a logarithm, but it is not positive in {not_positive} replicates"
        )
    if logarithmic:
        cap = CAP if metric.scale == "ratio" else CAP * float(np.median(finite))
    else:
        cap = float(finite.min() if metric.higher_is_better else finite.max())
    capped = ((values < cap) if metric.higher_is_better else (values > cap)) & ~diverged
    limited = np.where(capped | diverged, cap, values)
    return GridValues(
        tuple(cell.parameters for cell in recorded), np.log(limited) if logarithmic else limited, diverged, capped, cap
    )


def _curves(y: NDArray[np.float64], axes: Mapping[str, list[Any]], metric: Metric) -> tuple[Curve, ...]:
    """Average y over every other axis; y is (n_1, ..., n_K, seeds)."""
    curves = []
    for k, (axis, values) in enumerate(axes.items()):
        by_seed = y.mean(axis=tuple(j for j in range(len(axes)) if j != k))
        mean, low, high = by_seed.mean(axis=-1), None, None
        if by_seed.shape[-1] >= MIN_SEEDS_FOR_INTERVALS:
            low, high = student_interval(by_seed)
        elif by_seed.shape[-1] > 1:
            low, high = by_seed.min(axis=-1), by_seed.max(axis=-1)
        if metric.scale in ("ratio", "log"):
            mean = np.exp(mean)
            low, high = (None if bound is None else np.exp(bound) for bound in (low, high))
        curves.append(Curve(axis, tuple(values), mean, low, high))
    return tuple(curves)


def _notes(metric: Metric, axes: Mapping[str, list[Any]], seeds: int) -> list[str]:
    notes = []
    if seeds == 1:
        notes.append(
            "One seed gives no estimate of noise: the shares contain it, those of the interactions of many axes most "
            "of it."
        )
    elif seeds == 2:
        notes.append("Two seeds give an estimate of noise, but not of the uncertainty of the shares.")
    elif seeds < MIN_SEEDS_FOR_INTERVALS:
        notes.append(
            f"{seeds} seeds are too few for intervals ({MIN_SEEDS_FOR_INTERVALS} are needed): the range is that of "
            "the shares without each of the seeds in turn."
        )
    return [*notes, *notes_across_trainings(metric, axes)]


def notes_across_trainings(metric: Metric, axes: Iterable[str]) -> list[str]:
    """Return the warning that a metric per jump needs if axes of problem, network or training vary; else no note."""
    across = [key for key in axes if key.startswith(("problem.", "network.", "training."))]
    if not (metric.per_jump and across):
        return []
    return [
        f"{metric.name} is a ratio per jump: along {list_values(across)} it shows how jumps change, not which value is "
        "better, because a badly trained network has the easiest jumps."
    ]
