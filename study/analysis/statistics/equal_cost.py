"""What a training has cost when, and the loss it had when it had cost so much.

Costs are counted in epochs of plain training: by operations (step equivalents), or by wall time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Row = Mapping[str, Any]
"""A replicate with its jumps and curves, as of `study.record.Record.details`."""


@dataclass(frozen=True)
class Price:
    """What a training costs, in any unit: once at the start, for every epoch, and for every jump."""

    start: float = 0.0
    epoch: float = 1.0
    jump: float = 0.0

    def spent(self, epochs: ArrayLike, jump_epochs: ArrayLike) -> NDArray[np.float64]:
        """Cost after so many epochs, jumps included that follow the last of them."""
        epochs = np.asarray(epochs, dtype=np.float64)
        jumps = np.searchsorted(np.asarray(jump_epochs, dtype=np.float64), epochs, side="right")
        return np.asarray(self.start + epochs * self.epoch + jumps * self.jump, dtype=np.float64)


def evaluations_per_jump(method: Mapping[str, Any]) -> int:
    """Evaluations of the training loss that a method's own policy needs at every jump; others are only looked at.

    ``method``: its section of the spec, with the cell's values. None for a method that is no jump rule.
    """
    judges = bool(method.get("accept") == "improve")
    candidates = len(tuple(method.get("candidates", (1.0,))))
    before = judges or bool(method.get("horizon") == "loss")
    return int(before) + (candidates if judges or candidates > 1 else 0)


def price_in_epochs(row: Row, evaluations: int = 0) -> Price:
    """By operations: a step is a forward and a backward pass, a third of it each evaluation of the same samples.

    What a method that is no jump rule costs more or less than plain training is spread evenly over its epochs.
    """
    per_epoch = row["flops_training"] / row["epoch"]
    jumps = len(row["jump_epoch"])
    if not jumps:
        return Price(epoch=1 + row["flops_jumps"] / row["flops_training"])
    judged = evaluations * _judged(row) / 3
    return Price(jump=(row["flops_jumps"] / per_epoch + judged) / jumps)


def price_in_time(rows: Sequence[Row], plain: Sequence[Row], evaluations: int = 0) -> Price:
    """By wall time, from short trainings, each alone in its pack: the median over them.

    A jump is timed against the steps of its own training, which other programs on the machine slow as much as it. The
    epochs of a method that is no jump rule are timed against those of plain training, ``plain``. Without either it
    is plain training's own price.
    """
    if not plain and not any(len(row["jump_epoch"]) for row in rows):
        return Price()
    if not any(len(row["jump_epoch"]) for row in rows):
        per_epoch = float(np.median([own["seconds_training"] / own["epoch"] for own in plain]))
        return Price(
            start=float(np.median([own["seconds_jumps"] for own in rows])) / per_epoch,
            epoch=float(np.median([own["seconds_training"] / own["epoch"] for own in rows])) / per_epoch,
        )
    return Price(jump=float(np.median([_jump_in_time(row, evaluations) for row in rows])))


def loss_within(row: Row, split: str, price: Price, budget: float) -> float:
    """The last recorded loss before the budget is spent; infinite if it has stopped being finite by then."""
    spent = price.spent(row[f"curve_{split}_epoch"], row["jump_epoch"])
    within = np.flatnonzero(spent <= budget * (1 + 1e-9))  # a cost that equals the budget but for rounding
    loss = float(row[f"curve_{split}"][within[-1]])
    return loss if math.isfinite(loss) else math.inf


def _jump_in_time(row: Row, evaluations: int) -> float:
    jumps, per_epoch = len(row["jump_epoch"]), row["seconds_training"] / row["epoch"]
    needed = evaluations * _judged(row) * row["flops_training"] / row["epoch"] / 3
    seconds = row["seconds_jumps"] + row["seconds_judging"] * needed / row["flops_judging"]
    return float(seconds / jumps / per_epoch)


def _judged(row: Row) -> int:
    """Jumps that were not rejected unseen."""
    return int(np.sum(~np.isnan(np.asarray(row["jump_train_after"], dtype=np.float64))))
