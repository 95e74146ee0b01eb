"""Trials that are read and added without Optuna's own functions are those that Optuna reads and adds."""

import datetime
import math

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from study.record._tables import Ended, add_together, first_distributions, read_ended

KINDS = {
    "m": IntDistribution(2, 20),
    "tolerance": FloatDistribution(1e-12, 1e-2, log=True),
    "lr": FloatDistribution(0.0, 1.0),
    "form": CategoricalDistribution(["state", None, True, 2.5]),
}
FINISHED, FAILED = TrialState.COMPLETE, TrialState.FAIL


def trial(state, value, params, points=None, **attributes):
    return optuna.trial.create_trial(
        intermediate_values=points,
        state=state,
        value=value,
        params=params,
        distributions={name: KINDS[name] for name in params},
        user_attrs=attributes,
    )


def some():
    return [
        trial(
            FINISHED,
            0.5,
            {"m": 4, "tolerance": 1e-10, "lr": 0.1, "form": "state"},
            {0: 2.5, 30: 1e-12, 3000: math.inf},
            status="finished",
            pack="a1",
        ),
        trial(FINISHED, math.inf, {"form": None, "lr": 1.0, "m": 20}, status="finished", overhead=None, pack="b"),
        trial(FINISHED, -math.inf, {"form": True, "tolerance": 1e-2}, reason='an "odd" Grüße\n; DROP TABLE trials'),
        trial(
            FAILED,
            None,
            {"form": 2.5},
            {7: -1.0, 9: -math.inf},
            status="failed",
            epoch=3,
            axes='{"network.hidden": [8, 4]}',
        ),
        trial(FAILED, None, {}, status={"nested": [1, {"deep": 2.0}]}),
    ]


@pytest.fixture
def storages(tmp_path):
    """Two that are empty, but for two studies in each and a trial in the second of these."""
    made, there = [], trial(FINISHED, 1.0, {"m": 2}, pack="0")
    for name in ("one", "two"):
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / name}.db")
        optuna.create_study(study_name="first", storage=storage)
        optuna.create_study(study_name="second", storage=storage).add_trial(there)
        made.append(storage)
    yield made
    for storage in made:
        storage.remove_session()
        storage.engine.dispose()


def rows(storage):
    """Everything in a storage but the numbers of rows that nothing refers to, in the order of those numbers."""
    tables, found = sqlalchemy.MetaData(), {}
    tables.reflect(storage.engine)
    with storage.engine.connect() as connection:
        for name, table in tables.tables.items():
            (own,) = table.primary_key.columns
            kept = [column for column in table.columns if column is not own or name == "trials"]
            of_trial = [table.c.trial_id] if "trial_id" in table.c else []
            chosen = sqlalchemy.select(*(kept or [own])).order_by(*of_trial, own)
            found[name] = [tuple(row) for row in connection.execute(chosen)]
    return found


def add_by_optuna(storage, study, trials):
    optuna.load_study(study_name=study, storage=storage).add_trials(trials)


def test_trials_added_together_are_as_if_optuna_had_added_them(storages):
    theirs, ours = storages
    new = some()
    add_by_optuna(theirs, "first", new)
    add_by_optuna(theirs, "second", new[:2])
    add_together(ours, {"first": new, "second": new[:2]})
    assert rows(ours) == rows(theirs)
    for study in ("first", "second"):
        one, two = (optuna.load_study(study_name=study, storage=storage).get_trials() for storage in storages)
        assert [each.number for each in two] == list(range(len(one)))
        assert one == two
        assert [list(each.params) for each in one] == [list(each.params) for each in two]


def test_trials_are_numbered_on_whoever_added_those_before(storages):
    _, ours = storages
    new = some()
    add_together(ours, {"second": new[:1]})
    add_by_optuna(ours, "second", new[1:2])
    add_together(ours, {"second": new[2:4], "first": new[4:]})
    numbers = [each.number for each in optuna.load_study(study_name="second", storage=ours).get_trials()]
    assert numbers == [0, 1, 2, 3, 4]
    assert [each.number for each in optuna.load_study(study_name="first", storage=ours).get_trials()] == [0]


def test_times_of_trials_are_kept(storages):
    _, ours = storages
    (new,) = some()[:1]
    new.datetime_start = datetime.datetime(2026, 1, 2, 3, 4, 5, 678)
    add_together(ours, {"first": [new]})
    (found,) = optuna.load_study(study_name="first", storage=ours).get_trials()
    assert (found.datetime_start, found.datetime_complete) == (new.datetime_start, new.datetime_complete)


def test_what_is_read_is_what_optuna_reads(storages):
    storage, _ = storages
    add_by_optuna(storage, "first", some())
    study = optuna.load_study(study_name="first", storage=storage)
    study.ask()  # runs on
    asked = ("status", "pack", "reason", "axes")
    assert read_ended(storage, "first", asked) == [
        Ended(each.params, {name: each.user_attrs[name] for name in asked if name in each.user_attrs})
        for each in study.get_trials(states=(FINISHED, FAILED))
    ]
    assert len(read_ended(storage, "second", asked)) == 1
    assert read_ended(storage, "third", asked) == []


def test_the_first_distribution_of_a_parameter_counts(storages):
    storage, _ = storages
    assert first_distributions(storage, "first") == {}
    add_by_optuna(storage, "first", [trial(FINISHED, 1.0, {"m": 3})])
    add_by_optuna(
        storage,
        "first",
        [
            optuna.trial.create_trial(
                value=0.0,
                params={"m": 30, "lr": 0.5},
                distributions={"m": IntDistribution(2, 40), "lr": KINDS["lr"]},
            )
        ],
    )
    assert first_distributions(storage, "first") == {"m": KINDS["m"], "lr": KINDS["lr"]}


def test_where_one_cannot_be_added_none_is(storages):
    _, ours = storages
    before, new = rows(ours), some()
    broken = trial(FINISHED, 1.0, {})
    broken.user_attrs["x"] = object()
    with pytest.raises(TypeError):
        add_together(ours, {"first": new, "second": [*new, broken]})
    assert rows(ours) == before
