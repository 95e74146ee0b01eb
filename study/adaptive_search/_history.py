"""What a search knows of the replicates that have ended: their values, and what they looked like on the way."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.replicates.keys import key
from study.replicates.metrics import value_so_far
from study.replicates.replicate import Stop, Value
from study.specification import split_axis

CAP = 10.0
"""A ratio above this is as bad as any; so is a replicate that diverged or was pruned."""
MIN_REPLICATES_TO_PRUNE = 5
"""Replicates that must have got as far, before another is pruned for being worse than half of them."""


@dataclass(frozen=True)
class _Ended:
    status: str
    value: float
    final_loss: float
    overhead: float
    so_far: tuple[float, ...]


class History:
    """Ended replicates of a study, by cell and seed.

    Args:
        metric: the one to be low, without its split.
        seeds: of the study.
        rungs: epochs at which replicates are compared on the way.
    """

    def __init__(self, metric: str, seeds: Sequence[int], rungs: Sequence[int]) -> None:
        self.metric, self.seeds, self.rungs = metric, seeds, rungs
        self._cells: dict[str, _Ended] = {}
        self._baselines: dict[str, _Ended] = {}
        self._by_training: dict[str, list[_Ended]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of the record; one that was trained again counts as it ended last."""
        cell, seed, metric = row["cell"], row["seed"], self.metric
        own = "final_loss_train" if metric == "final_loss_ratio" else f"{metric}_train"
        ended = _Ended(
            status=row["status"],
            value=row[own] if row["status"] == "finished" and row[own] is not None else math.nan,
            final_loss=row["final_loss_train"],
            overhead=row["overhead"],
            so_far=tuple(self._so_far(row, rung) for rung in self.rungs),
        )
        if row["kind"] == "baseline":
            self._baselines[key(cell, seed)] = ended
        else:
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
        """Whether all seeds of a cell have ended, and (if ``compared``) their baselines."""
        names = [key(cell, seed) for seed in self.seeds]
        against = [key(plain(cell), seed) for seed in self.seeds] if compared else []
        return all(name in self._cells for name in names) and all(name in self._baselines for name in against)

    def values(self, cell: Mapping[str, Value]) -> tuple[float, float] | None:
        """Logarithm of the metric (capped) and overhead of a cell that has ended, medians over its seeds.

        None where a replicate failed, or is to be compared with a baseline that did not finish.
        """
        metrics, overheads = [], []
        for seed in self.seeds:
            own = self._cells[key(cell, seed)]
            if own.status == "failed":
                return None
            value = own.value if own.status == "finished" else math.inf
            if self.metric == "final_loss_ratio" and own.status == "finished":
                against = self._baselines.get(key(plain(cell), seed))
                if against is None or against.status != "finished" or not against.final_loss:
                    return None
                value /= against.final_loss
            metrics.append(CAP if math.isnan(value) else value)
            overheads.append(own.overhead if math.isfinite(own.overhead) else CAP)
        centre = min(max(statistics.median(metrics), 1 / CAP**12), CAP)
        return math.log(centre), statistics.median(overheads)

    def stops(self, cell: Mapping[str, Value], seed: int) -> tuple[Stop, ...]:
        """Beyond which value a replicate is hopeless, at each rung: the median of those of its seed and training."""
        others = self._by_training.get(key(plain(cell), seed), [])
        found = []
        for place, rung in enumerate(self.rungs):
            known = [one.so_far[place] for one in others if not math.isnan(one.so_far[place])]
            if len(known) >= MIN_REPLICATES_TO_PRUNE and math.isfinite(bound := statistics.median(known)):
                found.append(Stop(rung, self.metric, bound))
        return tuple(found)


def plain(cell: Mapping[str, Value]) -> dict[str, Value]:
    """The axes of a cell that are not the method's, which its baselines share."""
    return {axis: value for axis, value in cell.items() if split_axis(axis)[0] != "method"}


def cells_of(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Value]]:
    """The cells of rows, each once, in the order of the rows."""
    return list({key(row["cell"], 0): row["cell"] for row in rows if row["kind"] == "cell"}.values())
