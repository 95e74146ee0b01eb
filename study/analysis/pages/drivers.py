"""What drives the metrics of a report, as bars: shares of the variance on a grid, Sobol' indices of samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from dashboards import Bar, Bars
from study.analysis.statistics.cells import Axes
from study.analysis.statistics.sensitivity import NoIndices, Sensitivity, sensitivity
from study.analysis.statistics.sobol import SobolIndices, sobol_indices

T = TypeVar("T")
_ORDERS = {"first": "each axis alone", "total": "each axis with all its interactions", "second": "pairs"}


@dataclass(frozen=True)
class Drivers:
    """The bars and what must be known to read them; ``shares``: by metric, of a study whose cells are a grid."""

    note: str
    bars: list[Bars] = field(default_factory=list)
    shares: Mapping[str, Sensitivity] = field(default_factory=dict)


def on_a_grid(table: pd.DataFrame, axes: Axes, seeds: Sequence[int], metrics: Sequence[str]) -> Drivers:
    """Shares of the variance of each metric, as long as they are to be had."""

    def shares(metric: str) -> Sensitivity:
        found = sensitivity(table, axes, seeds, metric=metric)
        if found.unavailable is not None:
            raise NoIndices(found.unavailable)
        return found

    found, why_not = _of_each(metrics, shares)
    if not found:
        return Drivers(f"No shares: {why_not}.")
    said = (
        "Share of the variance between cells that each axis explains alone, and each set of axes together beyond that "
        "(functional ANOVA of the logarithm); the share of noise is taken off each, and is a bar of its own."
    )
    bars = [bars for one in found.values() for bars in _of_shares(one)]
    return Drivers(_note(said, next(iter(found.values())), why_not), bars, found)


def of_samples(
    table: pd.DataFrame,
    sampled: Sequence[Mapping[str, Any]],
    axes: Axes,
    seeds: Sequence[int],
    metrics: Sequence[str],
) -> Drivers:
    """Sobol' indices of each metric, as long as they are to be had; sampled: as of `sobol_indices`."""
    found, why_not = _of_each(metrics, lambda metric: sobol_indices(table, sampled, axes, seeds, metric=metric))
    if not found:
        return Drivers(f"No Sobol' indices: {why_not}.")
    said = (
        "Sobol' indices: of the variance over the ranges of all axes, the part that each explains alone (first order), "
        "with all its interactions (total), and that pairs explain beyond either alone; 95 % intervals by bootstrap "
        "over samples."
    )
    bars = [bars for one in found.values() for bars in _of_indices(one)]
    return Drivers(_note(said, next(iter(found.values())), why_not), bars)


def _of_each(metrics: Sequence[str], make: Callable[[str], T]) -> tuple[dict[str, T], str]:
    """What there is of each metric up to the first that has none; and why that has none."""
    found: dict[str, T] = {}
    for metric in metrics:
        try:
            found[metric] = make(metric)
        except ValueError as error:
            return found, str(error)
    return found, ""


def _note(said: str, first: Sensitivity | SobolIndices, why_not: str) -> str:
    parts = [said]
    if first.cap is not None:
        parts.append(
            f"Ratios above {first.cap:g} and diverged replicates count as {first.cap:g} ({first.n_cells_at_cap} cells)."
        )
    parts += first.notes
    if why_not:
        parts.append(f"The rest is left out: {why_not}.")
    return " ".join(parts)


def _of_shares(found: Sensitivity) -> list[Bars]:
    parts = ((found.metric.title, found.shares), ("Whether a replicate diverges", found.diverged))
    return [
        Bars(title, f"{own.cells} cells, {own.seeds} seeds", [_bar(s.name, s.share, s.low, s.high) for s in own.shares])
        for title, own in parts
        if own is not None
    ]


def _of_indices(found: SobolIndices) -> list[Bars]:
    about = f"{found.samples} samples in {found.cells} cells, {found.seeds} seeds"
    return [
        Bars(f"{found.metric.title}: {called}", about, [_bar(i.name, i.value, i.low, i.high) for i in own])
        for order, called in _ORDERS.items()
        if (own := found.of(order))
    ]


def _bar(name: str, share: float, low: float | None, high: float | None) -> Bar:
    around = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return Bar(name, share, low, high, f"{100 * share:.1f} %{around}")
