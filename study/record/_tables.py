"""Read and add many trials at once, in Optuna's own tables.

Optuna's own way takes a millisecond and a half to read a trial, and some thirty statements and a transaction to add
one. The same is read and written here: the tables are those of the installed Optuna, which refuses to open a storage
whose tables are of another version.
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
_INTERMEDIATE = models.TrialIntermediateValueModel
_distribution = functools.lru_cache(maxsize=10_000)(json_to_distribution)
_value = functools.lru_cache(maxsize=10_000)(json.loads)


@dataclass(frozen=True)
class Ended:
    """A trial that has ended."""

    parameters: dict[str, Any]
    attributes: dict[str, Any]
    """The attributes that `read_ended` was asked for."""


def read_ended(storage: RDBStorage, study: str, attributes: Sequence[str]) -> list[Ended]:
    """Return the trials of a study that have ended, in the order in which they were added.

    Args:
        storage: Optuna's storage.
        study: name of the study.
        attributes: names of the attributes to read.

    Raises:
        SQLAlchemyError: the storage cannot be read.
    """
    of_study = _TRIAL.study_id == sql.select(_STUDY.study_id).where(_STUDY.study_name == study).scalar_subquery()
    with storage.engine.connect() as connection:
        # the trials first: they are complete when they can be seen, so what is read of them afterwards is complete too
        trials = connection.execute(
            sql.select(_TRIAL.trial_id)
            .where(of_study, _TRIAL.state.in_((TrialState.COMPLETE, TrialState.FAIL)))
            .order_by(_TRIAL.trial_id)
        ).scalars()
        ended = {trial: Ended({}, {}) for trial in trials.all()}
        parameters = connection.execute(
            sql.select(_PARAMETER.trial_id, _PARAMETER.param_name, _PARAMETER.param_value, _PARAMETER.distribution_json)
            .join(_TRIAL, _TRIAL.trial_id == _PARAMETER.trial_id)
            .where(of_study)
        )
        for trial, name, value, distribution in parameters.all():
            if trial in ended:
                ended[trial].parameters[name] = _distribution(distribution).to_external_repr(value)
        values = connection.execute(
            sql.select(_ATTRIBUTE.trial_id, _ATTRIBUTE.key, _ATTRIBUTE.value_json)
            .join(_TRIAL, _TRIAL.trial_id == _ATTRIBUTE.trial_id)
            .where(of_study, _ATTRIBUTE.key.in_(attributes))
        )
        for trial, key, value in values.all():
            if trial in ended:
                ended[trial].attributes[key] = _value(value)
    return list(ended.values())


def first_distributions(storage: RDBStorage, study: str) -> dict[str, BaseDistribution]:
    """Return the distribution that each parameter of a study had in its first trial.

    Raises:
        SQLAlchemyError: the storage cannot be read.
    """
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
        storage: Optuna's storage.
        trials: new trials by the name of their study.

    Raises:
        SQLAlchemyError: the storage cannot be written to.
    """
    with Session(storage.engine) as session, session.begin():
        rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in (_VALUE, _PARAMETER, _ATTRIBUTE, _INTERMEDIATE)}
        for study, new in trials.items():
            # locked if the storage can lock rows, as Optuna does to number trials
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
            session.flush()  # gives the rows their ids
            for trial, row in zip(new, added, strict=True):
                for table, new_rows in _rows_of(trial).items():
                    rows[table] += [{"trial_id": row.trial_id, **values} for values in new_rows]
        for table, new_rows in rows.items():
            if new_rows:
                session.execute(sql.insert(table.__table__), new_rows)


def _rows_of(trial: FrozenTrial) -> dict[Any, list[dict[str, Any]]]:
    """Return a trial's rows in the other tables.

    The trial has at most one value, and no system attributes.
    """
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
    points = []
    for step, value in trial.intermediate_values.items():
        point, kind_of_point = _INTERMEDIATE.intermediate_value_to_stored_repr(value)
        points.append({"step": step, "intermediate_value": point, "intermediate_value_type": kind_of_point})
    return {_VALUE: values, _PARAMETER: parameters, _ATTRIBUTE: attributes, _INTERMEDIATE: points}
