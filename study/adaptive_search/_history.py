"""Replicates of a search that have ended: their final values, and their values during training."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.replicates.keys import key
from study.replicates.metrics import loss_after, value_so_far
from study.replicates.replicate import Stop, Value
from study.specification import split_axis

CAP = 10.0
"""Largest ratio that is told apart from worse ones. A replicate that diverged or was pruned counts as this ratio."""
MIN_REPLICATES_TO_PRUNE = 5
"""Number of replicates that must have reached a rung before one that is worse than half of them is pruned there."""


@dataclass(frozen=True)
class _Baseline:
    status: str
    curve_epoch: Sequence[int]
    curve: Sequence[float]


@dataclass(frozen=True)
class _Ended:
    status: str
    value: float
    epoch: float
    """Epoch of the final loss."""
    overhead: float
    so_far: tuple[float, ...]


class History:
    """Ended replicates of a study, by cell and seed.

    Args:
        metric: Metric to minimise, without its split.
        seeds: The study's seeds.
        rungs: Epochs at which replicates are compared during training.
    """

    def __init__(self, metric: str, seeds: Sequence[int], rungs: Sequence[int]) -> None:
        self.metric, self.seeds, self.rungs = metric, seeds, rungs
        self._cells: dict[str, _Ended] = {}
        self._baselines: dict[str, _Baseline] = {}
        self._by_training: dict[str, list[_Ended]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of the record. If a replicate was trained again, its last row counts."""
        cell, seed, metric = row["cell"], row["seed"], self.metric
        if row["kind"] == "baseline":
            self._baselines[key(cell, seed)] = _Baseline(row["status"], row["curve_train_epoch"], row["curve_train"])
            return
        column = "final_loss_train" if metric == "final_loss_ratio" else f"{metric}_train"
        ended = _Ended(
            status=row["status"],
            value=row[column] if row["status"] == "finished" and row[column] is not None else math.nan,
            epoch=row["final_epoch"],
            overhead=row["overhead"],
            so_far=tuple(self._so_far(row, rung) for rung in self.rungs),
        )
        self._cells[key(cell, seed)] = ended
        self._by_training.setdefault(key(plain(cell), seed), []).append(ended)

    def _so_far(self, row: Mapping[str, Any], rung: int) -> float:
        if row["status"] == "failed" or (row["status"] == "pruned" and row["epoch"] < rung):
            return math.nan
        if row["status"] == "diverged" and row["epoch"] <= rung:
            return math.inf
        jumps = {name: np.array(row[f"jump_{name}"]) for name in ("epoch", "train_before", "train_after")}
        return value_so_far(self.metric, rung, row["curve_train_epoch"], row["curve_train"], *jumps.values())

    def ended(self, cell: Mapping[str, Value], *, compared: bool) -> bool:
        """Return True if all seeds of a cell have ended, and (if ``compared``) their baselines."""
        names = [key(cell, seed) for seed in self.seeds]
        baselines = [key(plain(cell), seed) for seed in self.seeds] if compared else []
        return all(name in self._cells for name in names) and all(name in self._baselines for name in baselines)

    def values(self, cell: Mapping[str, Value]) -> tuple[float, float] | None:
        """Return the logarithm of the metric (capped) and the overhead of a cell that has ended, medians over seeds.

        None if a replicate failed, or if it must be compared with a baseline that did not finish.
        """
        metrics, overheads = [], []
        for seed in self.seeds:
            replicate = self._cells[key(cell, seed)]
            if replicate.status == "failed":
                return None
            value = replicate.value if replicate.status == "finished" else math.inf
            if self.metric == "final_loss_ratio" and replicate.status == "finished":
                baseline = self._baselines.get(key(plain(cell), seed))
                if baseline is None or baseline.status != "finished":
                    return None
                plain_loss = loss_after(baseline.curve_epoch, baseline.curve, replicate.epoch)
                if not plain_loss:
                    return None
                value /= plain_loss
            metrics.append(CAP if math.isnan(value) else value)
            overheads.append(replicate.overhead if math.isfinite(replicate.overhead) else CAP)
        centre = min(max(statistics.median(metrics), 1 / CAP**12), CAP)
        return math.log(centre), statistics.median(overheads)

    def stops(self, cell: Mapping[str, Value], seed: int) -> tuple[Stop, ...]:
        """Return the value above which a replicate is pruned at each rung: the median of its seed and training."""
        others = self._by_training.get(key(plain(cell), seed), [])
        stops = []
        for k, rung in enumerate(self.rungs):
            known = [other.so_far[k] for other in others if not math.isnan(other.so_far[k])]
            if len(known) >= MIN_REPLICATES_TO_PRUNE and math.isfinite(bound := statistics.median(known)):
                stops.append(Stop(rung, self.metric, bound))
        return tuple(stops)


def plain(cell: Mapping[str, Value]) -> dict[str, Value]:
    """Return a cell without the method's axes, as its baseline has it."""
    return {axis: value for axis, value in cell.items() if split_axis(axis)[0] != "method"}


def cells_of(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Value]]:
    """Return the cells of rows, each once, in the order of the rows."""
    return list({key(row["cell"], 0): row["cell"] for row in rows if row["kind"] == "cell"}.values())
