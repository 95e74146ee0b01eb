"""Sobol' indices of a study whose cells are samples (``design: saltelli``), by SALib, with bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.anova import CONFIDENCE
from study.analysis.statistics.cells import Axes, value_key
from study.analysis.statistics.sensitivity import NoIndices, grid_values, notes_across_trainings
from study.replicates.metric_catalogue import Metric, known_metric

_RESAMPLES = 400  # the width of an interval is then known to 4 %
_SEED = 1  # SALib takes 0 to mean no seed


@dataclass(frozen=True)
class Index:
    """One Sobol' index with an interval of about 95 %; ``axes`` holds one axis, or two for the second order.

    The interval is by bootstrap over samples. With 16 samples it holds in 83 to 96 % of cases, with 256 in 96 to 99 %
    (`docs/statistics.md`).
    """

    order: Literal["first", "total", "second"]
    axes: tuple[str, ...]
    value: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """Name of the axes for a table or a figure."""
        return " × ".join(self.axes)


@dataclass(frozen=True)
class SobolIndices:
    """Sobol' indices of one metric. Each axis is drawn evenly from its values (with ``log``, evenly in the logarithm).

    Attributes:
        metric: Metric that is decomposed.
        split: ``train`` or ``test``; None for a metric that has no splits.
        axes: Axes that vary.
        samples: Number of samples of the design.
        cells: Number of distinct cells.
        seeds: Number of seeds.
        indices: First order and total of every axis that varies, second order of every pair.
        noise: Part of the variance that is noise of the cells' means over the seeds; None with one seed. It is not
            subtracted.
        cap: Value that replaces every worse one and diverged replicates, as in `Sensitivity`.
        n_capped: Number of finished replicates that are worse than the cap.
        n_diverged: Number of diverged replicates.
        n_cells_at_cap: Number of cells with a replicate that is capped or diverged.
        notes: Sentences that a reader must know with the numbers.
    """

    metric: Metric
    split: str | None
    axes: tuple[str, ...]
    samples: int
    cells: int
    seeds: int
    indices: tuple[Index, ...]
    noise: float | None
    cap: float
    n_capped: int
    n_diverged: int
    n_cells_at_cap: int
    notes: tuple[str, ...]

    def of(self, order: str) -> list[Index]:
        """Return the indices of one order: ``first``, ``total`` or ``second``."""
        return [index for index in self.indices if index.order == order]

    def frame(self) -> pd.DataFrame:
        """Return one row per index."""
        return pd.DataFrame(
            [
                {"index": i.order, "term": i.name, "value": i.value, "low": i.low, "high": i.high}
                for i in self.indices
            ]
        )  # fmt: skip


def sobol_indices(
    table: pd.DataFrame,
    sampled: Sequence[Mapping[str, Any]],
    axes: Axes,
    seeds: Sequence[int],
    *,
    metric: str = "mean_relative_error",
    split: Literal["train", "test"] = "train",
) -> SobolIndices:
    """Compute first-order, total and second-order Sobol' indices of a metric, averaged over seeds.

    The numbers are those that `sensitivity` decomposes: logarithms of ratios and losses, capped, with the cap in place
    of diverged replicates.

    Sources: Saltelli et al. 2010, Computer Physics Communications 181, 259-270 (first order and total); Saltelli 2002,
    the same 145, 280-297 (second order).

    Args:
        table: Table of replicates, as in `heatmap_data`.
        sampled: Cells of the design in the order of `study.specification.saltelli.saltelli`, including repetitions.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        metric: Name of the metric, without ``_train`` / ``_test``.
        split: ``train`` or ``test``; ignored for a metric that has no splits.

    Raises:
        ValueError: The metric is unknown, the table is empty, a replicate has no value, or there is no variance.
    """
    if table.empty:
        raise NoIndices("the table has no replicates yet: there is nothing to decompose")
    chosen = known_metric(metric, table.columns)
    split_or_none = split if chosen.split else None
    cell_keys = [tuple(value_key(cell[axis]) for axis in axes) for cell in sampled]
    values = grid_values(table, axes, seeds, chosen, split_or_none, cells=len(set(cell_keys)))
    means = {
        tuple(value_key(cell[axis]) for axis in axes): float(mean)
        for cell, mean in zip(values.cells, values.y.mean(axis=1), strict=True)
    }
    varying = tuple(axis for axis, options in axes.items() if len(options) > 1)
    step = 2 * len(varying) + 2
    y = np.array([means[cell_key] for cell_key in cell_keys])
    independent = np.concatenate([y[::step], y[step - 1 :: step]])  # the two independent samples give the variance
    if np.ptp(independent) < 1e-12 * max(1.0, float(np.abs(independent).max())):
        raise NoIndices(f"{metric} is the same in every sample: there is no variance to decompose")
    noise = None if len(seeds) == 1 else _variance_of_means(values.y) / float(independent.var())
    return SobolIndices(
        metric=chosen,
        split=split_or_none,
        axes=varying,
        samples=len(sampled) // step,
        cells=len(means),
        seeds=len(seeds),
        indices=indices_of(y, varying),
        noise=noise,
        cap=values.cap,
        n_capped=int(values.capped.sum()),
        n_diverged=int(values.diverged.sum()),
        n_cells_at_cap=int((values.capped | values.diverged).any(axis=1).sum()),
        notes=(_noise_note(noise, len(seeds)), *notes_across_trainings(chosen, varying)),
    )


def indices_of(y: NDArray[np.float64], names: Sequence[str]) -> tuple[Index, ...]:
    """Compute the indices of a function from its values (cells,) on Saltelli's design, by SALib.

    The random seed is fixed, so every call gives the same intervals.
    """
    from SALib.analyze import sobol  # takes a second to import

    results = sobol.analyze(
        {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)},
        y,
        calc_second_order=True,
        num_resamples=_RESAMPLES,
        conf_level=CONFIDENCE,
        seed=_SEED,
    )
    indices = []
    for order, key in (("first", "S1"), ("total", "ST")):
        for k, name in enumerate(names):
            indices.append(_index(order, (name,), results[key][k], results[f"{key}_conf"][k]))
    for j, k in combinations(range(len(names)), 2):
        indices.append(_index("second", (names[j], names[k]), results["S2"][j, k], results["S2_conf"][j, k]))
    return tuple(indices)


def _index(order: Any, axes: tuple[str, ...], value: float, half_width: float) -> Index:
    return Index(order, axes, float(value), float(value - half_width), float(value + half_width))


def _variance_of_means(y: NDArray[np.float64]) -> float:
    """Return the residual variance of a cell's mean over seeds in the model cell + seed; y is (cells, seeds)."""
    residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    cells, seeds = y.shape
    return float((residual**2).sum() / ((cells - 1) * (seeds - 1) * seeds))


def _noise_note(noise: float | None, seeds: int) -> str:
    if noise is None:
        return "One seed gives no estimate of noise. Total indices contain it, as an interaction of all axes."
    return (
        f"The noise left by {seeds} seeds is {noise:.3f} of the variance. It is not subtracted: total indices contain "
        "up to that much of it."
    )
