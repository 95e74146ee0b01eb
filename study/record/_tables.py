"""Reading and adding many trials at once, in Optuna's own tables.

Optuna's own way takes a millisecond and a half to read a trial, and some thirty statements and a transaction to add
one. What is read and written here is the same: the tables are those of the Optuna that is installed, which refuses a
storage whose tables are of another version when it opens it.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

_STUDY, _TRIAL, _PARAMETER = models.StudyModel, models.TrialModel, models.TrialParamModel
_ATTRIBUTE, _VALUE = models.TrialUserAttributeModel, models.TrialValueModel
_distribution = functools.lru_cache(maxsize=10_000)(json_to_distribution)
_value = functools.lru_cache(maxsize=10_000)(json.loads)


@dataclass(frozen=True)
class Ended:
    """A trial that has ended: its parameters, and those of its attributes that were asked for."""

    parameters: dict[str, Any]
    attributes: dict[str, Any]


def read_ended(storage: RDBStorage, study: str, attributes: Sequence[str]) -> list[Ended]:
    """The trials of a study that have ended, as they were added.

    Raises:
        SQLAlchemyError: the storage cannot be read.
    """
    of_study = _TRIAL.study_id == sql.select(_STUDY.study_id).where(_STUDY.study_name == study).scalar_subquery()
    with storage.engine.connect() as connection:
        # the trials first: whole when they are seen, so that what is read of them afterwards is whole too
        trials = connection.execute(
            sql.select(_TRIAL.trial_id)
            .where(of_study, _TRIAL.state.in_((TrialState.COMPLETE, TrialState.FAIL)))
            .order_by(_TRIAL.trial_id)
        ).scalars()
        found = {trial: Ended({}, {}) for trial in trials.all()}
        parameters = connection.execute(
            sql.select(_PARAMETER.trial_id, _PARAMETER.param_name, _PARAMETER.param_value, _PARAMETER.distribution_json)
            .join(_TRIAL, _TRIAL.trial_id == _PARAMETER.trial_id)
            .where(of_study)
        )
        for trial, name, value, distribution in parameters.all():
            if trial in found:
                found[trial].parameters[name] = _distribution(distribution).to_external_repr(value)
        said = connection.execute(
            sql.select(_ATTRIBUTE.trial_id, _ATTRIBUTE.key, _ATTRIBUTE.value_json)
            .join(_TRIAL, _TRIAL.trial_id == _ATTRIBUTE.trial_id)
            .where(of_study, _ATTRIBUTE.key.in_(attributes))
        )
        for trial, key, value in said.all():
            if trial in found:
                found[trial].attributes[key] = _value(value)
    return list(found.values())


def first_distributions(storage: RDBStorage, study: str) -> dict[str, BaseDistribution]:
    """How each parameter of a study was told Optuna first. Raises SQLAlchemyError: the storage cannot be read."""
    first = (
        sql.select(sql.func.min(_PARAMETER.param_id))
        .join(_TRIAL, _TRIAL.trial_id == _PARAMETER.trial_id)
        .join(_STUDY, _STUDY.study_id == _TRIAL.study_id)
        .where(_STUDY.study_name == study)
        .group_by(_PARAMETER.param_name)
    )
    with storage.engine.connect() as connection:
        rows = connection.execute(
            sql.select(_PARAMETER.param_name, _PARAMETER.distribution_json).where(_PARAMETER.param_id.in_(first))
        )
        return {name: _distribution(text) for name, text in rows}


def add_together(storage: RDBStorage, trials: Mapping[str, Sequence[FrozenTrial]]) -> None:
    """Add trials that have ended, all of them or none.

    Args:
        storage: Optuna's.
        trials: name of a study -> its new trials.

    Raises:
        SQLAlchemyError: the storage cannot be written to.
    """
    with Session(storage.engine) as session, session.begin():
        rows: dict[Any, list[dict[str, Any]]] = {_VALUE: [], _PARAMETER: [], _ATTRIBUTE: []}
        for study, new in trials.items():
            # locked where a storage can, as Optuna does to number trials
            study_id: int = session.scalars(
                sql.select(_STUDY.study_id).where(_STUDY.study_name == study).with_for_update()
            ).one()
            before = session.scalars(
                sql.select(sql.func.count()).select_from(_TRIAL).where(_TRIAL.study_id == study_id)
            ).one()
            added = [
                _TRIAL(
                    study_id=study_id,
                    number=before + place,
                    state=trial.state,
                    datetime_start=trial.datetime_start,
                    datetime_complete=trial.datetime_complete,
                )
                for place, trial in enumerate(new)
            ]
            session.add_all(added)
            session.flush()  # which gives them their ids
            for trial, row in zip(new, added, strict=True):
                for table, found in _rows_of(trial).items():
                    rows[table] += [{"trial_id": row.trial_id, **values} for values in found]
        for table, found in rows.items():
            if found:
                session.execute(sql.insert(table), found)


def _rows_of(trial: FrozenTrial) -> dict[Any, list[dict[str, Any]]]:
    """What a trial of one value at most, without system attributes and intermediate values, has in other tables."""
    values = []
    if trial.value is not None:
        stored, kind = _VALUE.value_to_stored_repr(trial.value)
        values.append({"objective": 0, "value": stored, "value_type": kind})
    parameters = [
        {
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]
    attributes = [{"key": key, "value_json": json.dumps(value)} for key, value in trial.user_attrs.items()]
    return {_VALUE: values, _PARAMETER: parameters, _ATTRIBUTE: attributes}
