"""Plain trainings of a study, and the best of them, which an accelerator has to beat.

Losses of two problems, of two networks or after other numbers of epochs cannot be compared. So there is a best plain
training for each combination of these; all other keys of training are tuned.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.analysis.statistics.cells import rising, value_key
from study.replicates.metrics import loss_after

Row = Mapping[str, Any]
"""A replicate with its jumps and curves, see `study.record.Record.details`."""

_RECIPE_ONLY = ("training.epochs", "training.dtype", "training.order", "training.precision")


@dataclass(frozen=True, eq=False)
class PlainTraining:
    """One plain training with its seeds.

    Attributes:
        parameters: Axis that is not the method's, or key that baselines alone vary -> value.
        rows: Seed -> its replicate, for seeds that finished.
    """

    parameters: Mapping[str, Any]
    rows: Mapping[int, Row]

    def log_loss(self, seed: int, split: str, epoch: float) -> float:
        """Return the logarithm of the loss after some epochs; NaN if it is not known or not positive.

        Args:
            seed: seed of the replicate.
            split: ``train`` or ``test``.
            epoch: epochs trained.
        """
        row = self.rows.get(seed)
        if row is None:
            return math.nan
        return log_or_nan(loss_after(row[f"curve_{split}_epoch"], row[f"curve_{split}"], epoch))

    def typical_log_loss(self, split: str, epoch: float) -> float:
        """Return the median over all seeds of the log loss after some epochs."""
        return float(np.median([self.log_loss(seed, split, epoch) for seed in self.rows]))

    def reaches_zero(self, seeds: Iterable[int]) -> bool:
        """Return True if the final loss is not above 0 with some seed."""
        return any(self.rows[seed]["final_loss_train"] <= 0 for seed in seeds)

    def mean_log_final_loss(self, seeds: Iterable[int]) -> float:
        """Return the mean over seeds of the log of the final training loss; NaN if a seed has none."""
        return float(
            np.mean([log_or_nan(self.rows[s]["final_loss_train"]) if s in self.rows else math.nan for s in seeds])
        )


def log_or_nan(loss: float | None) -> float:
    """Return the logarithm of a loss; NaN if it is missing, not finite or not positive."""
    return math.log(loss) if loss is not None and math.isfinite(loss) and loss > 0 else math.nan


def plain_trainings(rows: Iterable[Row]) -> list[PlainTraining]:
    """Gather the replicates of kind ``baseline`` that finished, by their parameters."""
    gathered: dict[tuple[Any, ...], tuple[dict[str, Any], dict[int, Row]]] = {}
    for row in rows:
        if row["kind"] == "baseline" and row["status"] == "finished":
            key = tuple(sorted((axis, value_key(value)) for axis, value in row["cell"].items()))
            gathered.setdefault(key, (dict(row["cell"]), {}))[1][row["seed"]] = row
    return [PlainTraining(parameters, by_seed) for parameters, by_seed in gathered.values()]


def comparable_with(parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values that two trainings must share for their final losses to be compared, as a key."""
    return tuple(sorted((axis, value_key(value)) for axis, value in parameters.items() if _fixed(axis)))


def _fixed(axis: str) -> bool:
    return axis.startswith(("problem.", "network.")) or axis == "training.epochs"


def complete_trainings(trainings: Iterable[PlainTraining], seeds: Iterable[int]) -> list[PlainTraining]:
    """Return the plain trainings that finished with every seed."""
    seeds = set(seeds)
    return [training for training in trainings if seeds <= training.rows.keys()]


def tuned_keys(trainings: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the keys of training that plain training was varied in, with their values in rising order.

    Args:
        trainings: Parameters of the plain trainings.
        defaults: Key -> the spec's own value, which the parameters of a training may leave out.
    """
    values: dict[str, dict[Any, Any]] = {}
    for training in trainings:
        for axis, value in {**defaults, **training}.items():
            if axis.startswith("training.") and axis not in _RECIPE_ONLY:
                values.setdefault(axis, {})[value_key(value)] = value
    return {axis: rising(list(listed.values())) for axis, listed in values.items() if len(listed) > 1}


def best_plain(trainings: Sequence[PlainTraining], seeds: Sequence[int]) -> dict[tuple[Any, ...], PlainTraining]:
    """Return the plain training with the lowest mean log final loss, for each `comparable_with`.

    Only trainings where every seed finished are considered.
    """
    best: dict[tuple[Any, ...], tuple[float, PlainTraining]] = {}
    for training in trainings:
        loss, group = training.mean_log_final_loss(seeds), comparable_with(training.parameters)
        if math.isfinite(loss) and (group not in best or loss < best[group][0]):
            best[group] = (loss, training)
    return {group: training for group, (_, training) in best.items()}
