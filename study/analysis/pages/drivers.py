"""Bars of a report that show what drives its metrics: shares of the variance on a grid, Sobol' indices of samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from dashboards import Bar, Bars
from study.analysis.statistics.cells import Axes
from study.analysis.statistics.sensitivity import NoIndices, Sensitivity, sensitivity
from study.analysis.statistics.sobol import SobolIndices, sobol_indices
from study.replicates.metric_catalogue import METRICS

T = TypeVar("T")
_ORDERS = {
    "first": "each axis alone",
    "total": "each axis with all its interactions",
    "second": "interactions of pairs",
}


@dataclass(frozen=True)
class Drivers:
    """Charts of what drives the metrics.

    Attributes:
        note: Text that a reader needs with the charts.
        bars: Charts.
        shares: Metric -> its sensitivity; empty for a study whose cells are samples.
    """

    note: str
    bars: list[Bars] = field(default_factory=list)
    shares: Mapping[str, Sensitivity] = field(default_factory=dict)


def drivers_of_grid(table: pd.DataFrame, axes: Axes, seeds: Sequence[int], metrics: Sequence[str]) -> Drivers:
    """Chart the shares of the variance of each metric, up to the first metric that has none.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        metrics: Names of the metrics.
    """

    def shares_of(metric: str) -> Sensitivity:
        result = sensitivity(table, axes, seeds, metric=metric)
        if result.unavailable is not None:
            raise NoIndices(result.unavailable)
        return result

    by_metric, why_not = _until_unavailable(metrics, shares_of)
    if not by_metric:
        return Drivers(f"No shares: {why_not}.")
    text = (
        "Shares of the variance between cells: what each axis explains alone, and what each set of axes explains by "
        "interaction (functional ANOVA of the logarithm). Noise is subtracted from every share and has its own bar."
    )
    bars = [bars for result in by_metric.values() for bars in _share_bars(result)]
    return Drivers(_note(text, next(iter(by_metric.values())), why_not), bars, by_metric)


def drivers_of_samples(
    table: pd.DataFrame,
    sampled: Sequence[Mapping[str, Any]],
    axes: Axes,
    seeds: Sequence[int],
    metrics: Sequence[str],
) -> Drivers:
    """Chart the Sobol' indices of each metric, up to the first metric that has none.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        sampled: Cells of the design, as in `sobol_indices`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        metrics: Names of the metrics.
    """
    by_metric, why_not = _until_unavailable(
        metrics, lambda metric: sobol_indices(table, sampled, axes, seeds, metric=metric)
    )
    if not by_metric:
        return Drivers(f"No Sobol' indices: {why_not}.")
    text = (
        "Sobol' indices: parts of the variance over the ranges of all axes that are explained by each axis alone "
        "(first order), by each axis with all its interactions (total), and by the interaction of each pair. The "
        "intervals, of about 95 %, are by bootstrap over samples."
    )
    bars = [bars for result in by_metric.values() for bars in _index_bars(result)]
    return Drivers(_note(text, next(iter(by_metric.values())), why_not), bars)


@dataclass(frozen=True)
class MainShares:
    """Bars of the main effects on one metric, for a panel with room for a few bars and one sentence.

    Attributes:
        bars: Label -> share of the variance, from the top. If there are no shares, one bar without length says so.
        caption: Sentence below the panel's heading.
        note: Sentences that explain the panel.
    """

    bars: Mapping[str, float]
    caption: str
    note: str


def main_shares(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    metric: str,
    sampled: Sequence[Mapping[str, Any]] | None,
    *,
    searched: bool = False,
) -> MainShares:
    """Return what each axis explains alone, with the interactions together and the noise, on the training set.

    The shares of a grid are those of `sensitivity`; those of samples are first-order Sobol' indices.

    Args:
        table: Table of replicates, as in `heatmap_data`; it may be empty.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        metric: Name of the metric.
        sampled: Cells of a design of samples, as in `sobol_indices`; None for other designs.
        searched: True if the cells were chosen by a search.
    """
    title = METRICS[metric].title.lower()
    command = "The report and `dmd-study sensitivity` show the same numbers with their intervals."
    try:
        if sampled is not None:
            indices = sobol_indices(table, sampled, axes, seeds, metric=metric).of("first")
            caption = f"First-order Sobol' indices of the {title}, by the study and not by Optuna."
            text = "what each axis explains alone of the variance over the ranges, noise included"
            return MainShares({i.name: i.value for i in indices}, caption, _panel(metric, text, command))
        result = sensitivity(table, axes, seeds, metric=metric)
        if result.shares is None:
            raise NoIndices(result.unavailable)
    except ValueError as error:
        why = str(error)
        if searched:
            why = "a search runs only the cells that it expects to be good, but shares need a full grid"
        note = f"**Hyperparameter Importance** is empty: the study has no shares of its {title}, because {why}."
        caption = f"No shares of the {title}: {why}."
        return MainShares({"no shares: see the note": 0.0}, caption, note)
    terms = result.shares.terms
    bars = {term.name: term.share for term in terms if len(term.axes) == 1}
    if len(terms) > len(bars):
        bars["interactions"] = sum(term.share for term in terms if len(term.axes) != 1)
    if result.shares.noise is not None:
        bars["noise"] = result.shares.noise.share
    caption = f"Shares of the variance of the {title} between cells, by the study and not by Optuna."
    text = "what each axis explains alone of the variance between cells, what all interactions explain, and the noise"
    if result.shares.noise is None:
        text = "what each axis and all interactions explain of the variance between cells; one seed cannot tell noise"
    return MainShares(bars, caption, _panel(metric, text, command))


def _panel(metric: str, text: str, command: str) -> str:
    return (
        f"**Hyperparameter Importance** shows the study's own shares of `{metric}` on the training set, not Optuna's "
        f"importances, which are computed from single trials and follow the largest values and noise: {text}. "
        f"{command}"
    )


def _until_unavailable(metrics: Sequence[str], make: Callable[[str], T]) -> tuple[dict[str, T], str]:
    """Return the results of the metrics before the first that has none, and the reason why it has none."""
    results: dict[str, T] = {}
    for metric in metrics:
        try:
            results[metric] = make(metric)
        except ValueError as error:
            return results, str(error)
    return results, ""


def _note(text: str, first: Sensitivity | SobolIndices, why_not: str) -> str:
    parts = [text]
    if first.cap is not None:
        parts.append(
            f"Ratios above {first.cap:g} and diverged replicates count as {first.cap:g} ({first.n_cells_at_cap} cells)."
        )
    parts += first.notes
    if why_not:
        parts.append(f"Other metrics are left out: {why_not}.")
    return " ".join(parts)


def _share_bars(result: Sensitivity) -> list[Bars]:
    note = f"{result.cells} cells, {result.seeds} seeds"
    parts = ((result.metric.title, result.shares), ("Divergence of replicates", result.diverged))
    return [
        Bars(title, note, [_bar(s.name, s.share, s.low, s.high) for s in decomposition.shares])
        for title, decomposition in parts
        if decomposition is not None
    ]


def _index_bars(result: SobolIndices) -> list[Bars]:
    note = f"{result.samples} samples in {result.cells} cells, {result.seeds} seeds"
    return [
        Bars(f"{result.metric.title}: {words}", note, [_bar(i.name, i.value, i.low, i.high) for i in indices])
        for order, words in _ORDERS.items()
        if (indices := result.of(order))
    ]


def _bar(name: str, share: float, low: float | None, high: float | None) -> Bar:
    interval = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return Bar(name, share, low, high, f"{100 * share:.1f} %{interval}")
