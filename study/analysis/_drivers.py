"""What drives the metrics of a report, as bars: shares of the variance on a grid, Sobol' indices of samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from dashboards import Bar, Bars
from study.analysis._cells import Axes
from study.analysis.sensitivity import NoIndices, Sensitivity, sensitivity
from study.analysis.sobol import SobolIndices, sobol_indices

_ORDERS = {"first": "each axis alone", "total": "each axis with all its interactions", "second": "pairs"}


@dataclass(frozen=True)
class Drivers:
    """The bars and what must be known to read them; ``shares``: by metric, of a study whose cells are a grid."""

    note: str
    bars: list[Bars] = field(default_factory=list)
    shares: Mapping[str, Sensitivity] = field(default_factory=dict)


def on_a_grid(table: pd.DataFrame, axes: Axes, seeds: Sequence[int], metrics: Sequence[str]) -> Drivers:
    """Shares of the variance of each metric, as long as they are to be had."""
    found: dict[str, Sensitivity] = {}
    why_not = ""
    for metric in metrics:
        try:
            one = sensitivity(table, axes, seeds, metric=metric)
        except ValueError as error:
            why_not = str(error)
        else:
            why_not = one.unavailable or ""
            if not why_not:
                found[metric] = one
        if why_not:
            break
    return Drivers(_shares_note(found, why_not), [bars for one in found.values() for bars in _of_shares(one)], found)


def of_samples(
    table: pd.DataFrame,
    sampled: Sequence[Mapping[str, Any]],
    axes: Axes,
    seeds: Sequence[int],
    metrics: Sequence[str],
) -> Drivers:
    """Sobol' indices of each metric, as long as they are to be had; sampled: as of `sobol_indices`."""
    found: list[SobolIndices] = []
    why_not = ""
    for metric in metrics:
        try:
            found.append(sobol_indices(table, sampled, axes, seeds, metric=metric))
        except (NoIndices, ValueError) as error:
            why_not = str(error)
            break
    if not found:
        return Drivers(f"No Sobol' indices: {why_not}.")
    first = found[0]
    said = [
        "Sobol' indices: of the variance over the ranges of all axes, the part that each explains alone (first order), "
        "with all its interactions (total), and that pairs explain beyond either alone; 95 % intervals by bootstrap "
        "over samples.",
        f"Ratios above {first.cap:g} and diverged replicates count as {first.cap:g} ({first.n_cells_at_cap} cells).",
        *first.notes,
    ]
    if why_not:
        said.append(f"The rest is left out: {why_not}.")
    return Drivers(" ".join(said), [bars for one in found for bars in _of_indices(one)])


def _of_shares(found: Sensitivity) -> list[Bars]:
    made = []
    for title, shares in ((found.metric.title, found.shares), ("Whether a replicate diverges", found.diverged)):
        if shares is not None:
            bars = [Bar(s.name, s.share, s.low, s.high, _in_words(s.share, s.low, s.high)) for s in shares.shares]
            made.append(Bars(title, f"{shares.cells} cells, {shares.seeds} seeds", bars))
    return made


def _of_indices(found: SobolIndices) -> list[Bars]:
    about = f"{found.samples} samples in {found.cells} cells, {found.seeds} seeds"
    return [
        Bars(
            f"{found.metric.title}: {called}",
            about,
            [Bar(one.name, one.value, one.low, one.high, _in_words(one.value, one.low, one.high)) for one in own],
        )
        for order, called in _ORDERS.items()
        if (own := found.of(order))
    ]


def _in_words(share: float, low: float | None, high: float | None) -> str:
    interval = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * share:.1f} %{interval}"


def _shares_note(found: Mapping[str, Sensitivity], why_not: str) -> str:
    if not found:
        return f"No shares: {why_not}."
    first = next(iter(found.values()))
    said = [
        "Share of the variance between cells that each axis explains alone, and each set of axes together beyond that "
        "(functional ANOVA of the logarithm); the share of noise is taken off each, and is a bar of its own."
    ]
    if first.cap is not None:
        said.append(
            f"Ratios above {first.cap:g} and diverged replicates count as {first.cap:g} ({first.n_cells_at_cap} cells)."
        )
    return " ".join([*said, *first.notes, *([f"The rest is left out: {why_not}."] if why_not else [])])
