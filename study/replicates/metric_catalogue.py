"""Catalogue of the metrics: their columns and meanings, which direction is better, and the scale to show them on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Scale = Literal["ratio", "log", "linear", "signed"]

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Metric:
    """One metric of the table of replicates.

    Attributes:
        name: name of the metric in the table and on the command line.
        title: heading in figures and reports.
        meaning: definition in a few words.
        scale: ``ratio`` is compared with 1 on a log scale, ``signed`` with 0 on a linear one; ``log`` and ``linear``
            have no reference.
        split: True if there is one value for training data and one for test data.
        higher_is_better: True if a high value is good.
        per_jump: True for a ratio per jump, which is comparable only between equal trainings of equal networks.
        infinite: meaning of an infinite value of a finished replicate.
    """

    name: str
    title: str
    meaning: str
    scale: Scale
    split: bool = True
    higher_is_better: bool = False
    per_jump: bool = False
    infinite: str = "finished, value not finite"

    def column(self, split: str | None) -> str:
        """Return the name of the table's column; ``split`` is None for a metric without a train / test pair."""
        return self.name if split is None else f"{self.name}_{split}"

    @property
    def splits(self) -> tuple[str | None, ...]:
        """Splits of this metric: train and test, or (None,)."""
        return SPLITS if self.split else (None,)

    @property
    def columns(self) -> list[str]:
        """Columns of the table that hold this metric, training before test."""
        return [self.column(split) for split in self.splits]


_JUMP = "loss after a jump / loss before it"

METRICS = {
    metric.name: metric
    for metric in (
        Metric("mean_relative_error", "Mean relative error", f"{_JUMP}, mean over jumps", "ratio", per_jump=True),
        Metric(
            "geometric_mean_relative_error",
            "Geometric mean relative error",
            f"{_JUMP}, geometric mean over jumps",
            "ratio",
            per_jump=True,
        ),
        Metric("median_relative_error", "Median relative error", f"{_JUMP}, median over jumps", "ratio", per_jump=True),
        Metric("worst_relative_error", "Worst relative error", f"{_JUMP}, worst jump", "ratio", per_jump=True),
        Metric("final_loss_ratio", "Final loss ratio", "final loss / baseline's loss after as many epochs", "ratio"),
        Metric("final_loss", "Final loss", "loss at the end, after a whole window of plain steps", "log"),
        Metric("end_loss", "Loss at the end", "loss after the last epoch, even right after a jump", "log"),
        Metric(
            "fraction_improved",
            "Fraction improved",
            "fraction of jumps that lower the loss",
            "linear",
            higher_is_better=True,
            per_jump=True,
        ),
        Metric(
            "acceptance", "Acceptance", "fraction of jumps taken", "linear", False, higher_is_better=True, per_jump=True
        ),
        Metric(
            "log_gain_per_epoch",
            "Log gain per epoch",
            "sum over jumps of -ln(loss after / loss before) / epochs",
            "signed",
            higher_is_better=True,
        ),
        Metric(
            "steps_to_baseline_loss",
            "Steps to the baseline's loss",
            "optimiser steps",
            "linear",
            split=False,
            infinite="finished, loss not reached",
        ),
        Metric("overhead", "Overhead", "cost of training with jumps / cost of training", "linear", split=False),
        Metric(
            "prediction_error",
            "Prediction error",
            "error of predicted weights / growth of the true ones",
            "ratio",
            split=False,
        ),
        Metric("accuracy", "Accuracy", "share of samples classified right", "linear", higher_is_better=True),
        Metric(
            "iterations",
            "Iterations",
            "multigrid cycles to the tolerance",
            "linear",
            split=False,
            infinite="not converged",
        ),
        Metric("convergence_factor", "Convergence factor", "residual after / before a cycle", "linear", split=False),
        Metric(
            "model_speedup",
            "Speed-up by the paper's model",
            "steps / cost of the solve in sequential steps, by Schroder's model",
            "ratio",
            split=False,
            higher_is_better=True,
        ),
        Metric(
            "sequential_speedup",
            "Speed-up with unlimited processors",
            "steps / batched calls one after another",
            "ratio",
            split=False,
            higher_is_better=True,
        ),
        Metric(
            "measured_speedup",
            "Measured speed-up",
            "time of serial training / time of the solve, both alone in their packs",
            "ratio",
            split=False,
            higher_is_better=True,
        ),
        Metric("seconds", "Time", "seconds of the pack, shared by its replicates", "linear", split=False),
    )
}


HEADLINES = {
    "class_pca": "accuracy",
    "ema": "final_loss_ratio",
    "lookahead": "final_loss_ratio",
    "mgrit": "iterations",
}
"""Method that is not a jump rule -> metric that its figures show."""

TIMINGS = (
    "seconds",
    "seconds_training",
    "seconds_recording",
    "seconds_jumps",
    "seconds_judging",
    "measured_speedup",
)
"""Columns of the table that differ from run to run; all others are reproduced bit by bit."""

TABLE_METRICS = tuple(column for name, metric in METRICS.items() for column in metric.columns if name not in TIMINGS)

TABLE_COLUMNS = (
    *("seed", "status", "reason", "epoch", "final_epoch", "steps", "jumps"),
    *TABLE_METRICS,
    *TIMINGS,
    *("flops_training", "flops_jumps", "flops_judging", "pack", "stacked"),
)
"""Columns of the table of replicates, after one column for each axis."""


def known_metric(name: str, columns: Iterable[str], among: Iterable[str] = METRICS) -> Metric:
    """Return the metric of this name.

    Args:
        name: name of the metric.
        columns: columns of the table.
        among: names that are allowed.

    Raises:
        ValueError: the name is not allowed, or the table lacks columns of the metric.
    """
    present = set(columns)
    valid = [key for key in among if present.issuperset(METRICS[key].columns)]
    if name not in valid:
        raise ValueError(f"metric must be one of {', '.join(valid) or '(the table has none)'}; got {name!r}")
    return METRICS[name]
