"""Metrics of a replicate.

A jump's *proposed ratio* is loss(prediction) / loss(newest snapshot), the relative error of Tano, Portwood & Ragusa
2020, section 4; +inf where it is not finite. Its *applied ratio* is the same for the weights that training goes on
with, 1 for a rejected jump. Metrics with a split are given for training and test data: ``NAME_train``, ``NAME_test``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.replicates.metric_catalogue import METRICS, SPLITS
from study.replicates.outcome import JumpHistory, ReplicateOutcome
from study.replicates.replicate import Alternative, Probes

UNKNOWN_TO_PROBES = tuple(
    column
    for name in ("acceptance", "overhead", "log_gain_per_epoch", "final_loss", "end_loss")
    for column in METRICS[name].columns
)
"""Columns that a probe cannot fill, since it takes no jump."""

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
"""Columns that only some methods or problems fill; NaN elsewhere."""


def proposed_ratios(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return after / before per jump; +inf where either or their ratio is not finite, 1 where both are zero."""
    with np.errstate(all="ignore"):
        ratio = np.where((before == 0) & (after == 0), 1.0, after / before)
    return np.where(np.isfinite(ratio) & np.isfinite(before), ratio, np.inf)


def ratio_metrics(ratio: NDArray[np.float64], accepted: NDArray[np.bool_], epochs: int) -> dict[str, float]:
    """Return the metrics of one split from its proposed ratios; NaN if there was no jump.

    One infinite ratio makes every mean infinite, even if another ratio is zero.

    Args:
        ratio: (jumps,) proposed ratios.
        accepted: (jumps,) True for jumps that were taken.
        epochs: number of epochs that were trained.
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


@dataclass(frozen=True)
class SettledLosses:
    """Losses at the last point of a training that a whole window of plain steps leads to, and the epoch of it."""

    epoch: int
    loss: Mapping[str, float]


def settled_losses(
    jumps: JumpHistory, epoch: int, end: Mapping[str, float], window: float | None = None
) -> SettledLosses:
    """Return the final losses, read in the same way for all windows: never right after a jump.

    A jump may raise the loss for a few steps. Where m divides the number of epochs, a training ends right after one;
    where it does not, it ends up to m - 1 steps later. So the losses at the end count if a whole window of plain steps
    follows the last jump that was taken. Otherwise, those before that jump count.

    Args:
        jumps: The jumps of the training.
        epoch: Last epoch of the training.
        end: Losses after that epoch, by split.
        window: Epochs of a window; None to take it from the jumps, as for a record that does not hold it.
    """
    taken = np.flatnonzero(jumps.accepted)
    if not len(taken):
        return SettledLosses(epoch, end)
    last, at = int(taken[-1]), np.asarray(jumps.epoch)
    if window is None:
        window = int(np.max(np.diff(at))) if len(at) > 1 else int(at[0])
    before = {split: float(getattr(jumps, f"{split}_before")[last]) for split in end}
    if epoch - int(at[last]) >= max(window, 1) or not all(map(math.isfinite, before.values())):
        return SettledLosses(epoch, end)
    return SettledLosses(int(at[last]), before)


def _window_epochs(outcome: ReplicateOutcome) -> float | None:
    """Return the epochs that it takes to fill a window; None without jumps."""
    method = outcome.replicate.extrapolation
    if method is None or not outcome.steps:
        return None
    return float(method.m) if method.snapshots == "epoch" else method.m * outcome.epoch / outcome.steps


def outcome_metrics(outcome: ReplicateOutcome) -> dict[str, float]:
    """Return the metrics that need no baseline, by column name; the table adds those that do.

    For a diverged replicate, metrics that should be low are +inf and the log gain is -inf, so that it never looks good.
    For a replicate that failed or was pruned, all metrics are NaN.
    """
    jumps = outcome.jumps
    row: dict[str, float] = {}
    for split, before, after in (
        ("train", jumps.train_before, jumps.train_after),
        ("test", jumps.test_before, jumps.test_after),
    ):
        known = jumps.evaluated  # a jump rejected without evaluation has no ratio; it counts only in the acceptance
        ratio = proposed_ratios(before[known], after[known])
        for name, value in ratio_metrics(ratio, jumps.accepted[known], max(outcome.epoch, 1)).items():
            row[f"{name}_{split}"] = value
    end = {split: getattr(outcome.losses, f"final_{split}") for split in SPLITS}
    final = settled_losses(jumps, outcome.epoch, end, _window_epochs(outcome))
    for split in SPLITS:
        row[f"final_loss_{split}"] = final.loss[split]
        row[f"end_loss_{split}"] = getattr(outcome.losses, f"final_{split}")
    row["final_epoch"] = float(final.epoch)
    row["acceptance"] = float(np.mean(jumps.accepted)) if len(jumps.accepted) else math.nan
    cost = outcome.flops.training
    row["overhead"] = (cost + outcome.flops.jumps) / cost if cost else math.nan
    special = {column: outcome.own_metrics.get(column, math.nan) for column in OWN_METRICS}
    if outcome.status in ("failed", "pruned"):
        return dict.fromkeys(row, math.nan) | special
    if isinstance(outcome.replicate.method, Alternative):  # columns that jumps would fill
        row |= {column: math.nan for column in row if not column.startswith(("final_", "end_loss", "overhead"))}
    if isinstance(
        outcome.replicate.method, Probes
    ):  # no jump was taken, so results of training with jumps are not known
        row |= dict.fromkeys(UNKNOWN_TO_PROBES, math.nan)
    if outcome.status == "diverged":
        losses = [f"{name}_{split}" for name in ("final_loss", "end_loss") for split in SPLITS]
        for column in losses if isinstance(outcome.replicate.method, Alternative) else row:
            name = column.removesuffix("_train").removesuffix("_test")
            if name == "final_epoch":
                continue
            if name == "log_gain_per_epoch":
                row[column] = -math.inf
            elif not METRICS[name].higher_is_better and name != "overhead":
                row[column] = math.inf
    return row | special


def value_so_far(
    metric: str,
    epoch: int,
    curve_epoch: ArrayLike,
    curve: ArrayLike,
    jump_epoch: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
) -> float:
    """Return the value of a training metric after some epochs of a training; NaN if it is not known yet.

    For a relative error, this is its value over the jumps so far. For a final loss or its ratio, this is the latest
    known training loss.

    Args:
        metric: name of the metric.
        epoch: number of epochs trained.
        curve_epoch: (points,) epochs of the loss curve.
        curve: (points,) training losses.
        jump_epoch: (jumps,) epochs of the jumps.
        before: (jumps,) training losses before the jumps.
        after: (jumps,) training losses after the jumps.
    """
    if metric in ("final_loss", "final_loss_ratio"):
        known = np.flatnonzero(np.asarray(curve_epoch, np.int64) <= epoch)
        return float(np.asarray(curve, np.float64)[known[-1]]) if len(known) else math.nan
    past = np.asarray(jump_epoch, np.int64) <= epoch
    losses = np.asarray(before, np.float64)[past], np.asarray(after, np.float64)[past]
    evaluated = ~np.isnan(losses).all(axis=0)
    ratio = proposed_ratios(losses[0][evaluated], losses[1][evaluated])
    return ratio_metrics(ratio, np.ones(len(ratio), np.bool_), max(epoch, 1))[metric]


def loss_after(curve_epoch: ArrayLike, curve: ArrayLike, epoch: float) -> float:
    """Return the loss after some epochs, between two points of a curve on a straight line of the logarithm.

    NaN outside the curve, or where it is not finite.

    Args:
        curve_epoch: (points,) epochs, rising.
        curve: (points,) losses.
        epoch: epochs trained.
    """
    at, losses = np.asarray(curve_epoch, np.float64), np.asarray(curve, np.float64)
    exact = np.flatnonzero(at == epoch)
    if len(exact):
        return float(losses[exact[-1]])
    if not len(at) or not at[0] < epoch < at[-1]:
        return math.nan
    right = int(np.searchsorted(at, epoch))
    ends, share = losses[right - 1 : right + 1], (epoch - at[right - 1]) / (at[right] - at[right - 1])
    if (ends > 0).all():
        return float(np.exp(np.log(ends) @ [1 - share, share]))
    return float(ends @ [1 - share, share])


def steps_to_loss(
    epochs: NDArray[np.int64], losses: NDArray[np.float64], target: float, steps_per_epoch: float
) -> float:
    """Return the first step at which a loss curve is at or below a target; +inf if it never is.

    Args:
        epochs: (points,) epochs of the curve.
        losses: (points,) losses.
        target: loss to reach.
        steps_per_epoch: steps per epoch.
    """
    reached = np.flatnonzero(losses <= target)
    return float(epochs[reached[0]] * steps_per_epoch) if len(reached) else math.inf
