"""Which axes of a study drive a metric, and how sure that is: functional ANOVA over its grid, and effect curves."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.anova import FEWEST_SEEDS_FOR_INTERVALS, Decomposition, decompose, student_interval
from study.analysis.statistics.cells import Axes, Replicates, list_values, restrict, rising
from study.replicates.metric_catalogue import Metric, known_metric

CAP = 10.0
"""Ratio at which the metric is capped, so that how badly the bad cells fail does not decide what matters."""


@dataclass(frozen=True)
class Curve:
    """Mean of the metric at each value of one axis, over all values of the others (geometric where a log is taken).

    Arrays are (values,). ``low``, ``high``: 95 % interval over seeds by Student's t from five seeds on; below, the
    lowest and the highest seed; None with one seed.
    """

    axis: str
    values: tuple[Any, ...]
    mean: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None


@dataclass(frozen=True)
class Sensitivity:
    """What drives one metric of a study.

    ``shares``: of the variance of the metric (its log for a ratio or a loss) between cells; ``diverged``: the same of
    the indicator that a replicate diverged, None where none did or all. ``cap``: value that stands for every worse one
    and for diverged replicates, in the metric's own units. ``unavailable``: why there are no shares and curves; else
    None. ``notes``: what a reader must know beside the numbers, one sentence each.
    """

    metric: Metric
    split: str | None
    axes: dict[str, tuple[Any, ...]]
    """Those that vary, with their values; ``at`` holds the values chosen of others."""
    at: dict[str, Any]
    cells: int
    seeds: int
    shares: Decomposition | None = None
    diverged: Decomposition | None = None
    curves: tuple[Curve, ...] = ()
    cap: float | None = None
    n_capped: int = 0
    """Finished replicates that are worse than the cap."""
    n_diverged: int = 0
    n_cells_at_cap: int = 0
    """Cells where some replicate is capped or diverged."""
    unavailable: str | None = None
    notes: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """One row per share, of the metric and of the diverged indicator."""
        rows = []
        for of, found in ((self.metric.name, self.shares), ("diverged", self.diverged)):
            for share in found.shares if found else ():
                rows.append(
                    {
                        "of": of,
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
    """Decompose a metric over the full grid of a study.

    Ratios and losses are decomposed as logarithms, capped at the ratio 10 (a loss: at 10 times the median), since
    otherwise a few jumps that blow up decide; other metrics as they are. A diverged replicate counts as the cap (of a
    metric without one: as the worst finite value of the study), so that the grid stays complete.

    Parameters
    ----------
    table, axes, seeds
        As in `heatmap_data`.
    metric, split
        Which column; ``split`` is of no effect for a metric without one.
    at
        Decomposes only the cells with these axis values.

    Raises
    ------
    ValueError
        Unknown metric, axis or value, with the valid ones; an empty table; no axis with two values.
    """
    if table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to decompose")
    chosen = known_metric(metric, table.columns)
    grid = {key: rising(values) for key, values in restrict(axes, at).items()}
    varying = {key: values for key, values in grid.items() if len(values) > 1}
    if not varying:
        raise ValueError(f"sensitivity needs an axis with two values or more; {', '.join(axes)} have one each")
    of_split = split if chosen.split else None
    found = Sensitivity(
        metric=chosen,
        split=of_split,
        axes={key: tuple(values) for key, values in varying.items()},
        at={key: values[0] for key, values in grid.items() if key not in varying and len(axes[key]) > 1},
        cells=math.prod(map(len, grid.values())),
        seeds=len(seeds),
    )
    try:
        values = grid_values(table, grid, seeds, chosen, of_split)
    except NoIndices as reason:
        return replace(found, unavailable=str(reason))
    shape = (*map(len, varying.values()), len(seeds))
    y = values.y.reshape(shape)
    shares = decompose(y, list(varying))
    if shares is None:
        return replace(found, unavailable=f"{metric} is the same in every cell: there is no variance to share out")
    return replace(
        found,
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
    """The replicates do not fill the grid, or have no values to decompose; the message says which."""


@dataclass(frozen=True)
class GridValues:
    """What is decomposed; arrays are (cells, seeds), the last axis of the grid fastest.

    ``y``: the metric or its log, capped; ``capped``: finished replicates that the cap stands for.
    """

    cells: tuple[dict[str, Any], ...]
    y: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    capped: NDArray[np.bool_]
    cap: float


def grid_values(
    table: pd.DataFrame, axes: Axes, seeds: Sequence[int], metric: Metric, split: str | None, cells: int | None = None
) -> GridValues:
    """Every replicate's number, on the scale that `sensitivity` decomposes. Raises NoIndices where one is missing.

    ``cells``: how many there are, if they are samples and not all combinations of the axes' values.
    """
    summaries = Replicates(table, axes, seeds).summaries(
        metric.column(split), higher_is_better=metric.higher_is_better, recorded=True
    )
    found = list(summaries)
    values = np.array([cell.values for cell in found], dtype=np.float64).reshape(len(found), len(seeds))
    statuses = np.array([cell.statuses for cell in found], dtype=str).reshape(values.shape)
    diverged = statuses == "diverged"
    counts = Counter("without a value" if s == "finished" else s for s in statuses[np.isnan(values)].tolist())
    expected = math.prod(map(len, axes.values())) if cells is None else cells
    counts["missing"] += (expected - len(found)) * len(seeds)
    if holes := counts.total():
        raise NoIndices(
            f"{holes} of {expected * len(seeds)} replicates have no {metric.name} "
            f"({', '.join(f'{n} {status}' for status, n in counts.items() if n)}), and on "
            f"a {'grid' if cells is None else 'design'} with holes the shares of the axes are not separate"
        )
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise NoIndices(f"no replicate has a finite {metric.name} ({diverged.sum()} of {diverged.size} diverged)")
    logarithmic = metric.scale in ("ratio", "log")
    if logarithmic and (not_positive := int((finite <= 0).sum())):
        raise NoIndices(f"its logarithm is decomposed, and {metric.name} is not positive in {not_positive} replicates")
    if logarithmic:
        cap = CAP if metric.scale == "ratio" else CAP * float(np.median(finite))
    else:
        cap = float(finite.min() if metric.higher_is_better else finite.max())
    capped = ((values < cap) if metric.higher_is_better else (values > cap)) & ~diverged
    held = np.where(capped | diverged, cap, values)
    return GridValues(
        tuple(cell.parameters for cell in found), np.log(held) if logarithmic else held, diverged, capped, cap
    )


def _curves(y: NDArray[np.float64], axes: Mapping[str, list[Any]], metric: Metric) -> tuple[Curve, ...]:
    """Mean over every other axis; y is (n_1, ..., n_K, seeds)."""
    curves = []
    for k, (axis, values) in enumerate(axes.items()):
        of_seed = y.mean(axis=tuple(j for j in range(len(axes)) if j != k))
        mean, low, high = of_seed.mean(axis=-1), None, None
        if of_seed.shape[-1] >= FEWEST_SEEDS_FOR_INTERVALS:
            low, high = student_interval(of_seed)
        elif of_seed.shape[-1] > 1:
            low, high = of_seed.min(axis=-1), of_seed.max(axis=-1)
        if metric.scale in ("ratio", "log"):
            mean = np.exp(mean)
            low, high = (None if bound is None else np.exp(bound) for bound in (low, high))
        curves.append(Curve(axis, tuple(values), mean, low, high))
    return tuple(curves)


def _notes(metric: Metric, axes: Mapping[str, list[Any]], seeds: int) -> list[str]:
    notes = []
    if seeds == 1:
        notes.append("One seed gives no estimate of noise: the shares hold it, most of it those of many axes.")
    elif seeds == 2:
        notes.append("Two seeds give an estimate of noise, but nothing that says how sure the shares are.")
    elif seeds < FEWEST_SEEDS_FOR_INTERVALS:
        notes.append(
            f"{seeds} seeds are too few for intervals ({FEWEST_SEEDS_FOR_INTERVALS} are needed): the range is that of "
            "the shares without one seed each."
        )
    return [*notes, *across_trainings(metric, axes)]


def across_trainings(metric: Metric, axes: Iterable[str]) -> list[str]:
    """What must be said of a metric per jump where these axes vary that are not the method's; else nothing."""
    across = [key for key in axes if key.startswith(("problem.", "network.", "training."))]
    if not (metric.per_jump and across):
        return []
    return [
        f"{metric.name} is a ratio per jump: over {list_values(across)} it says how jumps change, not which value is "
        "better, because a badly trained network has the easiest jumps."
    ]
