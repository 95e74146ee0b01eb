"""The trials of a record: one Optuna trial per replicate, with few attributes, since each takes a millisecond."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from study.record._files import is_pack_id
from study.record._tables import Ended, first_distributions, read_ended
from study.replicates.keys import key
from study.replicates.outcome import PARTS
from study.replicates.replicate import Value
from study.specification import Spec


def ended(storage: RDBStorage, study: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the name (`study.replicates.keys.key`) and the attributes of each replicate recorded in an Optuna study.

    They are in the order in which they were added. The attributes are status, pack, and ``reason`` of a failure.
    """
    trials = read_ended(storage, study, ("status", "pack", "reason", "axes"))
    named = ((_name_of(trial), trial.attributes) for trial in trials)
    return [(name, attributes) for name, attributes in named if name is not None]


def objective(spec: Spec, *, is_baseline: bool) -> str:
    """Return the column whose value a trial has: the paper's metric, or the final loss if there are no jumps."""
    return "final_loss_train" if is_baseline or not spec.jumps else "mean_relative_error_train"


def _name_of(trial: Ended) -> str | None:
    """Return a replicate's name; None for a trial that is not ours.

    Other trials can get into a storage by hand or through a dashboard. The pack's name is checked, so that it cannot
    lead to another file.
    """
    parameters, attributes = dict(trial.parameters), trial.attributes
    if "seed" not in parameters or not (
        isinstance(attributes.get("status"), str) and is_pack_id(attributes.get("pack"))
    ):
        return None
    seed = parameters.pop("seed")
    if "axes" in attributes:
        try:
            others = json.loads(attributes["axes"])
        except (TypeError, ValueError):
            return None
        if not isinstance(others, dict):
            return None
        parameters |= others
    return key(parameters, seed)


MAX_POINTS = 10
"""Largest number of intermediate values of a trial: each is a row of the storage."""


class Trials:
    """Maker of the trials of one of a record's two Optuna studies.

    Optuna wants a parameter to keep its kind and scale, so those of its first trial are used for all.

    Args:
        spec: The spec of the study.
        storage: Optuna's storage.
        study: Name of the Optuna study.
    """

    def __init__(self, spec: Spec, storage: RDBStorage, study: str) -> None:
        self._spec, self._first = spec, first_distributions(storage, study)

    def make(self, row: Mapping[str, Any], cell: Mapping[str, Value], pack_id: str) -> FrozenTrial:
        """Make the trial of a replicate.

        Args:
            row: the replicate's row, with the columns of `study.record._rows.COLUMNS_READ`; old ones have no times.
            cell: values of the axes.
            pack_id: pack that the row is in.
        """
        params: dict[str, Any] = {"seed": row["seed"]}
        distributions: dict[str, BaseDistribution] = {"seed": IntDistribution(0, max(*self._spec.seeds, row["seed"]))}
        others = {}
        for axis, value in cell.items():
            distribution = self._distribution(axis, value)
            if distribution is None:
                others[axis] = value
            else:
                params[axis], distributions[axis] = value, distribution
        for name, distribution in distributions.items():
            check_distribution_compatibility(self._first.setdefault(name, distribution), distribution)
        finished, is_baseline = row["status"] == "finished", row["kind"] == "baseline"
        attributes = {
            "status": row["status"],
            "pack": pack_id,
            "seconds": math.fsum(row[f"seconds_{part}"] or 0.0 for part in PARTS),
        }
        if not finished:
            attributes["epoch"] = row["epoch"]
        if not is_baseline:
            for name in ("geometric_mean_relative_error_train", "final_loss_train", "overhead"):
                attributes[name] = row[name]
        if others:
            attributes["axes"] = json.dumps(others)
        elif row["reason"]:
            attributes["reason"] = row["reason"].strip().splitlines()[-1]
        value = row[objective(self._spec, is_baseline=is_baseline)] if finished else None
        if value is not None and math.isnan(value):  # no jump was evaluated; Optuna refuses NaN
            value = math.inf
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE if finished else TrialState.FAIL,
            value=value,
            params=params,
            distributions=distributions,
            user_attrs={k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in attributes.items()},
            intermediate_values=_points(row),
        )
        if row.get("started_at") and row.get("ended_at"):  # else Optuna's: now
            trial.datetime_start = datetime.fromtimestamp(row["started_at"])
            trial.datetime_complete = max(trial.datetime_start, datetime.fromtimestamp(row["ended_at"]))
        return trial

    def _distribution(self, axis: str, value: Value) -> BaseDistribution | None:
        """Return Optuna's distribution of an axis; None if it has none that fits.

        That is so for a list of widths, and for 0 on a logarithmic scale.
        """
        kind, values = self._spec.kind(axis), self._spec.values_of(axis)
        if isinstance(kind, tuple):
            return CategoricalDistribution(kind)
        if kind is None or not isinstance(value, int | float):
            return None
        numbers = [v for v in (*values, value) if isinstance(v, int | float)]
        low, high = min(numbers), max(numbers)
        if kind == "int":
            # a storage keeps numbers as floats, which hold whole numbers to 2**53
            return IntDistribution(int(low), int(high)) if max(abs(low), abs(high)) <= 2**53 else None
        drawn, first = self._spec.ranges.get(axis), self._first.get(axis)
        logarithmic = drawn.log if drawn else low > 0 and high / low >= 100
        if not (first.log if isinstance(first, FloatDistribution) else logarithmic):
            return FloatDistribution(low, high)
        if value <= 0:
            return None
        return FloatDistribution(min(v for v in numbers if v > 0), high, log=True)


def _points(row: Mapping[str, Any]) -> dict[int, float]:
    """Return points of the training-loss curve, the first and the last finite one among them: epoch -> loss."""
    epochs, losses = row["curve_train_epoch"], row["curve_train"]
    places: Sequence[int] = _spread(len(losses))
    if not all(math.isfinite(losses[place]) for place in places):
        finite = [place for place, loss in enumerate(losses) if math.isfinite(loss)]
        places = [finite[place] for place in _spread(len(finite))]
    return {int(epochs[place]): float(losses[place]) for place in places}


def _spread(count: int) -> Sequence[int]:
    """Return `MAX_POINTS` places, evenly from the first to the last of so many, or all of them."""
    if count <= MAX_POINTS:
        return range(count)
    return [round(k * (count - 1) / (MAX_POINTS - 1)) for k in range(MAX_POINTS)]
