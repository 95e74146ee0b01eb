"""Cost of a training over its epochs, and its loss within a given budget.

Costs are counted in epochs of plain training: by operations (step equivalents), or by wall time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Row = Mapping[str, Any]
"""A replicate with its jumps and curves, see `study.record.Record.details`."""


@dataclass(frozen=True)
class Price:
    """Cost of a training, in any unit: once at the start, for every epoch, and for every jump."""

    start: float = 0.0
    epoch: float = 1.0
    jump: float = 0.0

    def spent(self, epochs: ArrayLike, jump_epochs: ArrayLike) -> NDArray[np.float64]:
        """Return the cost after the given numbers of epochs, including jumps right after the last of them."""
        epochs = np.asarray(epochs, dtype=np.float64)
        jumps = np.searchsorted(np.asarray(jump_epochs, dtype=np.float64), epochs, side="right")
        return np.asarray(self.start + epochs * self.epoch + jumps * self.jump, dtype=np.float64)


def evaluations_per_jump(method: Mapping[str, Any]) -> int:
    """Return how many evaluations of the training loss the method's own policy needs at every jump.

    Other evaluations serve the record only and are not counted. A method that is no jump rule needs none.

    Args:
        method: Section of the spec, with the cell's values.
    """
    judges = bool(method.get("accept") == "improve")
    candidates = len(tuple(method.get("candidates", (1.0,))))
    before = judges or bool(method.get("horizon") == "loss")
    return int(before) + (candidates if judges or candidates > 1 else 0)


def price_in_epochs(row: Row, evaluations: int = 0) -> Price:
    """Return the price by operations.

    A step is a forward and a backward pass; an evaluation on the same samples costs a third of it. If the method is no
    jump rule, its extra cost over plain training, which may be negative, is spread evenly over its epochs.

    Args:
        row: Replicate to price.
        evaluations: Evaluations per jump, see `evaluations_per_jump`.
    """
    per_epoch = row["flops_training"] / row["epoch"]
    jumps = len(row["jump_epoch"])
    if not jumps:
        return Price(epoch=1 + row["flops_jumps"] / row["flops_training"])
    judging = evaluations * _jumps_judged(row) / 3
    return Price(jump=(row["flops_jumps"] / per_epoch + judging) / jumps)


def price_in_time(rows: Sequence[Row], plain: Sequence[Row], evaluations: int = 0) -> Price:
    """Return the price by wall time: the median over short trainings, each alone in its pack.

    A jump is timed against the steps of its own training, because other programs slow both alike. If the method is no
    jump rule, its epochs are timed against those of plain training. Without jumps and without ``plain`` the result is
    the price of plain training itself.

    Args:
        rows: Timed trainings of the method.
        plain: Timed plain trainings.
        evaluations: Evaluations per jump, see `evaluations_per_jump`.
    """
    if not plain and not any(len(row["jump_epoch"]) for row in rows):
        return Price()
    if not any(len(row["jump_epoch"]) for row in rows):
        per_epoch = float(np.median([row["seconds_training"] / row["epoch"] for row in plain]))
        return Price(
            start=float(np.median([jump_seconds(row) for row in rows])) / per_epoch,
            epoch=float(np.median([row["seconds_training"] / row["epoch"] for row in rows])) / per_epoch,
        )
    return Price(jump=float(np.median([_epochs_per_jump(row, evaluations) for row in rows])))


def jump_seconds(row: Row) -> float:
    """Return the seconds of jumps and of the snapshots that they need; older rows count both as jumps."""
    return float(row["seconds_jumps"] + (row.get("seconds_recording") or 0.0))


def loss_within(row: Row, split: str, price: Price, budget: float) -> float:
    """Return the last recorded loss before the budget is spent; infinite if it is no longer finite by then.

    Args:
        row: Replicate with its curves.
        split: ``train`` or ``test``.
        price: Price of its training.
        budget: Budget, in the units of the price.
    """
    spent = price.spent(row[f"curve_{split}_epoch"], row["jump_epoch"])
    within = np.flatnonzero(spent <= budget * (1 + 1e-9))  # a cost may exceed the budget by rounding
    loss = float(row[f"curve_{split}"][within[-1]])
    return loss if math.isfinite(loss) else math.inf


def _epochs_per_jump(row: Row, evaluations: int) -> float:
    """Return the time of a jump, in epochs of its own training."""
    jumps, per_epoch = len(row["jump_epoch"]), row["seconds_training"] / row["epoch"]
    needed = evaluations * _jumps_judged(row) * row["flops_training"] / row["epoch"] / 3
    seconds = jump_seconds(row) + row["seconds_judging"] * needed / row["flops_judging"]
    return float(seconds / jumps / per_epoch)


def _jumps_judged(row: Row) -> int:
    """Return the number of jumps whose loss was evaluated; others were rejected before that."""
    return int(np.sum(~np.isnan(np.asarray(row["jump_train_after"], dtype=np.float64))))
