"""Sobol' indices of a study whose cells are samples (``design: saltelli``), by SALib, with its bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.cells import Axes, value_key
from study.analysis.statistics.sensitivity import NoIndices, across_trainings, grid_values
from study.replicates.metric_catalogue import Metric, known_metric

CONFIDENCE = 0.95
_RESAMPLES = 400  # the width of an interval is then known to 4 %
_SEED = 1  # SALib takes 0 for none


@dataclass(frozen=True)
class Index:
    """One Sobol' index with its 95 % interval; ``axes`` are one, or two for the second order."""

    order: Literal["first", "total", "second"]
    axes: tuple[str, ...]
    value: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """The axes, as a table or a figure names them."""
        return " × ".join(self.axes)


@dataclass(frozen=True)
class SobolIndices:
    """What drives one metric, each axis being drawn evenly from its values (with ``log`` evenly in the logarithm).

    ``indices``: first order and total of every axis that varies, second order of every pair. ``noise``: part of the
    variance that is the scatter of cells' means over so many seeds, None with one seed; it is not taken off.
    ``cap``, ``n_capped``, ``n_diverged``: as of `Sensitivity`. ``notes``: what a reader must know beside the numbers.
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
        """The indices of one order."""
        return [index for index in self.indices if index.order == order]

    def frame(self) -> pd.DataFrame:
        """One row per index."""
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
    """First-order, total and second-order Sobol' indices of a metric, averaged over seeds.

    The numbers are those that `sensitivity` decomposes: logarithms of ratios and losses, capped, a diverged replicate
    being the cap.

    Parameters
    ----------
    table, axes, seeds
        As in `heatmap_data`.
    sampled
        The design's cells in the order of `study.specification.saltelli.saltelli`, repetitions included.
    metric, split
        As in `sensitivity`.

    Raises
    ------
    ValueError
        Unknown metric; an empty table; a replicate without a value; no variance.

    Sources: Saltelli et al. 2010, Computer Physics Communications 181, 259-270 (first order and total); Saltelli 2002,
    the same 145, 280-297 (second order).
    """
    if table.empty:
        raise NoIndices("the table has no replicates yet: there is nothing to decompose")
    chosen = known_metric(metric, table.columns)
    of_split = split if chosen.split else None
    places = [tuple(value_key(cell[axis]) for axis in axes) for cell in sampled]
    values = grid_values(table, axes, seeds, chosen, of_split, cells=len(set(places)))
    means = {
        tuple(value_key(cell[axis]) for axis in axes): float(mean)
        for cell, mean in zip(values.cells, values.y.mean(axis=1), strict=True)
    }
    varying = tuple(axis for axis, options in axes.items() if len(options) > 1)
    step = 2 * len(varying) + 2
    y = np.array([means[place] for place in places])
    independent = np.concatenate([y[::step], y[step - 1 :: step]])  # the two whole samples, which the variance is of
    if np.ptp(independent) < 1e-12 * max(1.0, float(np.abs(independent).max())):
        raise NoIndices(f"{metric} is the same in every sample: there is no variance to share out")
    noise = None if len(seeds) == 1 else _variance_of_means(values.y) / float(independent.var())
    return SobolIndices(
        metric=chosen,
        split=of_split,
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
        notes=(_noise_in_words(noise, len(seeds)), *across_trainings(chosen, varying)),
    )


def indices_of(y: NDArray[np.float64], names: Sequence[str]) -> tuple[Index, ...]:
    """The indices of a function's values (cells,) on Saltelli's design, by SALib; the same at every call."""
    from SALib.analyze import sobol  # takes a second to import

    found = sobol.analyze(
        {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)},
        y,
        calc_second_order=True,
        num_resamples=_RESAMPLES,
        conf_level=CONFIDENCE,
        seed=_SEED,
    )
    made = []
    for order, key in (("first", "S1"), ("total", "ST")):
        for k, name in enumerate(names):
            made.append(_index(order, (name,), found[key][k], found[f"{key}_conf"][k]))
    for j, k in combinations(range(len(names)), 2):
        made.append(_index("second", (names[j], names[k]), found["S2"][j, k], found["S2_conf"][j, k]))
    return tuple(made)


def _index(order: Any, axes: tuple[str, ...], value: float, half: float) -> Index:
    return Index(order, axes, float(value), float(value - half), float(value + half))


def _variance_of_means(y: NDArray[np.float64]) -> float:
    """Variance of a cell's mean over seeds about what cell and seed have in common; y is (cells, seeds)."""
    residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    cells, seeds = y.shape
    return float((residual**2).sum() / ((cells - 1) * (seeds - 1) * seeds))


def _noise_in_words(noise: float | None, seeds: int) -> str:
    if noise is None:
        return "One seed gives no estimate of noise, which counts as an interaction of all axes: total indices hold it."
    return (
        f"Noise that {seeds} seeds leave is {noise:.3f} of the variance; it is not taken off, and total indices hold "
        "up to that much of it."
    )
