"""Losses of a cell over those of a plain training, seed by seed: after as many epochs, and after as much time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.analysis.statistics.plain_training import PlainTraining, Row, log_or_nan
from study.replicates.keys import key
from study.replicates.metrics import loss_after

Fetch = Callable[[Callable[[str], bool]], list[Row]]
"""Function that returns the replicates whose name meets a condition, with their jumps and curves."""


@dataclass(frozen=True)
class Pairs:
    """Replicates of one cell and of one plain training, by seed.

    Attributes:
        cell: Seed -> replicate of the cell.
        plain: The plain training.
    """

    cell: Mapping[int, Row]
    plain: PlainTraining

    @classmethod
    def of(cls, fetch: Fetch, cell: Mapping[str, Any], plain: Mapping[str, Any], seeds: Sequence[int]) -> "Pairs":
        """Fetch the replicates.

        Args:
            fetch: Returns replicates by name.
            cell: Parameters of the cell.
            plain: Parameters of the plain training, as they are recorded.
            seeds: Seeds of both.
        """
        names = {f"cell {key(cell, seed)}" for seed in seeds} | {f"baseline {key(plain, seed)}" for seed in seeds}
        rows = fetch(names.__contains__)
        by_kind = {kind: {row["seed"]: row for row in rows if row["kind"] == kind} for kind in ("cell", "baseline")}
        return cls(by_kind["cell"], PlainTraining(plain, by_kind["baseline"]))

    def finished(self, seed: int) -> bool:
        """Return True if both have finished with this seed."""
        both = (self.cell, self.plain.rows)
        return all(seed in rows and rows[seed]["status"] == "finished" for rows in both)

    def comparable(self, seed: int) -> bool:
        """Return True if both have finished with this seed, with losses above 0."""
        return self.finished(seed) and math.isfinite(self.at_equal_steps(seed, "train"))

    def at_equal_steps(self, seed: int, split: str) -> float:
        """Return the log loss ratio after as many epochs."""
        row = self.cell[seed]
        return log_or_nan(row[f"final_loss_{split}"]) - self.plain.log_loss(seed, split, row["final_epoch"])

    def at_equal_time(self, seed: int, time_ratio: float) -> float:
        """Return the log loss ratio after as much time: the slower of both is stopped early."""
        row = self.cell[seed]
        epochs = float(row["final_epoch"])
        reached = log_or_nan(settled_loss_after(row, epochs / max(time_ratio, 1.0)))
        return reached - self.plain.log_loss(seed, "train", epochs * min(time_ratio, 1.0))


def settled_loss_after(row: Row, epoch: float) -> float:
    """Return the training loss after some epochs, read where a whole window of plain steps leads to it.

    These points are right before each jump, and at the end. Between two of them, the loss lies on a straight line of
    the logarithm.

    Args:
        row: Replicate with its jumps and curves.
        epoch: Epochs trained.
    """
    if not len(row["jump_epoch"]):
        return loss_after(row["curve_train_epoch"], row["curve_train"], epoch)
    points = {0: float(row["curve_train"][0])}
    for at, before in zip(row["jump_epoch"], row["jump_train_before"], strict=True):
        if math.isfinite(before):
            points[int(at)] = before
    points[int(row["final_epoch"])] = row["final_loss_train"]
    at = sorted(points)
    return loss_after(at, [points[each] for each in at], epoch)
