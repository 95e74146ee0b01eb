"""What a replicate is reported by.

A jump's *proposed ratio* is loss(prediction) / loss(newest snapshot), the relative error of Tano, Portwood & Ragusa
2020, section 4; +inf where it is not finite. Its *applied ratio* is the same for the weights that training goes on
with, 1 for a rejected jump. Metrics with a split are given for training and test data: ``NAME_train``, ``NAME_test``.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.replicates.metric_catalogue import METRICS
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Alternative, Probes

UNKNOWN_TO_PROBES = tuple(
    column
    for name in ("acceptance", "overhead", "log_gain_per_epoch", "final_loss")
    for column in METRICS[name].columns
)


OWN_METRICS = tuple(
    column
    for name in (
        "iterations",
        "convergence_factor",
        "model_speedup",
        "sequential_speedup",
        "accuracy",
        "prediction_error",
    )
    for column in METRICS[name].columns
)
"""Columns of what only some methods or problems fill; NaN elsewhere."""


def proposed_ratios(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """After / before per jump; +inf where either or their ratio is not finite, 1 where both are zero."""
    with np.errstate(all="ignore"):
        ratio = np.where((before == 0) & (after == 0), 1.0, after / before)
    return np.where(np.isfinite(ratio) & np.isfinite(before), ratio, np.inf)


def ratio_metrics(ratio: NDArray[np.float64], accepted: NDArray[np.bool_], epochs: int) -> dict[str, float]:
    """Metrics of one split from its proposed ratios (jumps,); NaN where there was no jump.

    One infinite ratio makes every mean infinite, also beside a ratio of zero.
    """
    if not len(ratio):
        names = ("mean", "geometric_mean", "median", "worst")
        return {f"{n}_relative_error": math.nan for n in names} | {
            "fraction_improved": math.nan,
            "log_gain_per_epoch": 0.0,
        }
    taken = ratio[accepted]
    with np.errstate(divide="ignore", over="ignore"):
        mean, median = float(np.mean(ratio)), float(np.median(ratio))
        geometric_mean = float(np.exp(np.mean(np.log(ratio)))) if np.isfinite(ratio).all() else math.inf
        log_gain = float(-np.sum(np.log(taken)) / epochs) if np.isfinite(taken).all() else -math.inf
    return {
        "mean_relative_error": mean,
        "geometric_mean_relative_error": geometric_mean,
        "median_relative_error": median,
        "worst_relative_error": float(np.max(ratio)),
        "fraction_improved": float(np.mean(ratio < 1)),
        "log_gain_per_epoch": log_gain,
    }


def outcome_metrics(outcome: ReplicateOutcome) -> dict[str, float]:
    """The metrics that a replicate fills by itself, by column name; those against a baseline come with the table.

    Of a diverged replicate, all that should be low is +inf and the log gain -inf: it is never mistaken for a good one.
    One that failed, or was pruned on its way, has no numbers: NaN.
    """
    jumps = outcome.jumps
    row: dict[str, float] = {}
    for split, before, after in (
        ("train", jumps.train_before, jumps.train_after),
        ("test", jumps.test_before, jumps.test_after),
    ):
        known = jumps.evaluated  # a jump that was rejected unseen has no ratio; it counts in the acceptance alone
        ratio = proposed_ratios(before[known], after[known])
        for name, value in ratio_metrics(ratio, jumps.accepted[known], max(outcome.epoch, 1)).items():
            row[f"{name}_{split}"] = value
    row["final_loss_train"] = outcome.losses.final_train
    row["final_loss_test"] = outcome.losses.final_test
    row["acceptance"] = float(np.mean(jumps.accepted)) if len(jumps.accepted) else math.nan
    cost = outcome.flops.training
    row["overhead"] = (cost + outcome.flops.jumps) / cost if cost else math.nan
    own = {column: outcome.own_metrics.get(column, math.nan) for column in OWN_METRICS}
    if outcome.status in ("failed", "pruned"):
        return dict.fromkeys(row, math.nan) | own
    if isinstance(outcome.replicate.method, Alternative):  # what jumps would fill
        row |= {column: math.nan for column in row if not column.startswith(("final_loss", "overhead"))}
    if isinstance(outcome.replicate.method, Probes):  # no jump was taken: what training with jumps gives is not known
        row |= dict.fromkeys(UNKNOWN_TO_PROBES, math.nan)
    if outcome.status == "diverged":
        filled = ("final_loss_train", "final_loss_test") if isinstance(outcome.replicate.method, Alternative) else row
        for column in filled:
            name = column.removesuffix("_train").removesuffix("_test")
            if name == "log_gain_per_epoch":
                row[column] = -math.inf
            elif not METRICS[name].higher_is_better and name != "overhead":
                row[column] = math.inf
    return row | own


def value_so_far(
    metric: str,
    epoch: int,
    curve_epoch: ArrayLike,
    curve: ArrayLike,
    jump_epoch: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
) -> float:
    """What a training metric looks like after so many epochs of a training; NaN where nothing tells yet.

    Of a relative error, the same over the jumps so far. Of a final loss or its ratio, the latest known training loss.
    """
    if metric in ("final_loss", "final_loss_ratio"):
        known = np.flatnonzero(np.asarray(curve_epoch, np.int64) <= epoch)
        return float(np.asarray(curve, np.float64)[known[-1]]) if len(known) else math.nan
    seen = np.asarray(jump_epoch, np.int64) <= epoch
    losses = np.asarray(before, np.float64)[seen], np.asarray(after, np.float64)[seen]
    evaluated = ~np.isnan(losses).all(axis=0)
    ratio = proposed_ratios(losses[0][evaluated], losses[1][evaluated])
    return ratio_metrics(ratio, np.ones(len(ratio), np.bool_), max(epoch, 1))[metric]


def steps_to_loss(
    epochs: NDArray[np.int64], losses: NDArray[np.float64], target: float, steps_per_epoch: float
) -> float:
    """First step at which a loss curve is at or below the target; +inf if it never is."""
    reached = np.flatnonzero(losses <= target)
    return float(epochs[reached[0]] * steps_per_epoch) if len(reached) else math.inf
