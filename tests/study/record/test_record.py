import json
import math
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy
import torch
import yaml

from study import load_spec, open_study, run
from study.errors import UserError
from study.planning.cells import baselines, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import Record, create, masked
from study.record._storage import open_storage
from study.replicates.keys import replicate_key
from study.replicates.metric_catalogue import METRICS, SPLITS, TIMINGS
from study.replicates.metrics import outcome_metrics
from study.replicates.outcome import PARTS, JumpHistory, Losses
from study.replicates.replicate import Pack


@pytest.fixture
def raw(raw):
    """The small study with one horizon only: four replicates and two baselines."""
    return lambda changes=None: raw({"axes.s": [2], **(changes or {})})


@pytest.fixture
def swept(raw, tmp_path):
    """Run the small study with these changes in a folder; returns its record, opened afresh."""

    def sweep(changes=None, folder=None):
        folder = folder or tmp_path / "out"
        run(raw(changes), folder, executor="inline")
        return open_study(folder)

    return sweep


@pytest.fixture
def training_forbidden(monkeypatch):
    def forbid():
        def refuse(*arguments):
            raise AssertionError("nothing was to be trained")

        monkeypatch.setattr("study.training.packs.train_pack", refuse)

    return forbid


def same(one, two):
    pd.testing.assert_frame_equal(one.drop(columns=list(TIMINGS)), two.drop(columns=list(TIMINGS)), check_exact=True)


# round trip


def test_the_table_is_what_was_trained(small, train, swept):
    spec = small()
    table = swept().table()
    baseline = {o.replicate.seed: o for o in train(spec, baselines(spec))}
    for (_, row), outcome in zip(table.iterrows(), train(spec, replicates(spec)), strict=True):
        assert {axis: row[axis] for axis in spec.axes} == outcome.replicate.parameters
        assert (row["seed"], row["status"], row["reason"]) == (outcome.replicate.seed, "finished", "")
        assert (row["epoch"], row["steps"], row["jumps"]) == (24, 24, len(outcome.jumps.epoch))
        for column, value in outcome_metrics(outcome).items():
            assert row[column] == value or (math.isnan(row[column]) and math.isnan(value)), column
        for part in ("training", "jumps", "judging"):
            assert row[f"flops_{part}"] == getattr(outcome.flops, part)
        assert row["seconds"] == pytest.approx(sum(row[f"seconds_{part}"] for part in PARTS), rel=1e-12)
        assert all(row[f"seconds_{part}"] > 0 for part in PARTS)
        other = baseline[outcome.replicate.seed]
        # m = 4 and 6 divide 24, so the losses are read before the last jump, after as many epochs as in the baseline
        assert row["final_epoch"] == outcome.jumps.epoch[-1] == other.losses.train_epoch[-1] == 24
        for split in SPLITS:
            before, plain = getattr(outcome.jumps, f"{split}_before")[-1], getattr(other.losses, f"final_{split}")
            assert row[f"final_loss_ratio_{split}"] == row[f"final_loss_{split}"] / plain == before / plain
            assert row[f"end_loss_{split}"] == getattr(outcome.losses, f"final_{split}") < before
        reached = np.flatnonzero(outcome.losses.train <= other.losses.final_train)
        expected = outcome.losses.train_epoch[reached[0]] if len(reached) else math.inf
        assert row["steps_to_baseline_loss"] == expected
    assert (table["seconds"] > 0).all()


def test_a_final_loss_is_compared_with_the_baseline_after_as_many_epochs(swept):
    record = swept({"axes.m": [5], "training.epochs": 23, "training.batch": 32, "seeds": 1})
    (_, row), *more = record.table().iterrows()
    assert not more
    (baseline,) = (each for each in record.details() if each["kind"] == "baseline")
    # 2 steps an epoch, and a jump every 5 steps: the last is taken after 45 of 46 steps, in epoch 23
    (cell,) = (each for each in record.details() if each["kind"] == "cell")
    assert (cell["jump_epoch"][-2:], row["final_epoch"]) == ([20, 23], 23)
    for split in SPLITS:
        assert baseline[f"curve_{split}_epoch"][-1] == 23
        plain = baseline[f"curve_{split}"][-1]
        assert row[f"final_loss_ratio_{split}"] == cell[f"jump_{split}_before"][-1] / plain


def test_between_two_points_of_the_baselines_curve_its_logarithm_is_a_line(small, train, tmp_path):
    spec = small({"axes.m": [4], "axes.s": [2], "seeds": 1})
    record, (baseline,), (cell,) = create(tmp_path, spec, None, None), baselines(spec), replicates(spec)
    (plain,) = train(spec, [baseline])
    losses = replace(plain.losses, train_epoch=np.array([0, 6, 24]), train=np.array([4.0, 1.0, 0.5]))
    jumped = finished(cell)
    jumped = replace(jumped, jumps=replace(jumped.jumps, epoch=np.array([22])))  # two epochs before the end
    for number, outcome in enumerate((replace(plain, losses=losses), jumped)):
        record.add(Pack(f"pack{number}", (outcome.replicate,), 1, "cpu"), [outcome], {}, spec)
    (row,) = open_study(tmp_path).table().to_dict("records")
    assert (row["final_epoch"], row["final_loss_train"]) == (22, 1.0)
    # 16 of the 18 epochs in which a loss of 1 comes down to a half
    assert row["final_loss_ratio_train"] == pytest.approx(2 ** (16 / 18), rel=1e-14)


def test_of_a_packs_columns_lists_alone_are_compressed(swept):
    record = swept()
    columns = [pq.read_metadata(path).row_group(0) for path in (record.folder / "packs").iterdir()]
    found = [of.column(place) for of in columns for place in range(of.num_columns)]
    assert {column.compression for column in found if "." in column.path_in_schema} == {"ZSTD"}
    assert {column.compression for column in found if "." not in column.path_in_schema} == {"UNCOMPRESSED"}


def test_a_pack_that_another_writer_laid_out_reads_the_same(swept):
    """As packs were written once: every column compressed, the schema as pyarrow has it beside Parquet's own."""
    record = swept()
    table, details = record.table(), repr(record.details())
    for path in (record.folder / "packs").iterdir():
        pq.write_table(pq.read_table(path), path, compression="zstd", use_dictionary=False, write_page_checksum=True)
        assert b"ARROW:schema" in pq.read_metadata(path).metadata
    again = open_study(record.folder)
    assert again.damaged() == {}
    pd.testing.assert_frame_equal(again.table(), table, check_exact=True)
    assert repr(again.details()) == details


def test_jumps_and_curves_are_kept(small, train, swept):
    spec = small({"network.hidden": [5]})
    rows = swept({"network.hidden": [5]}).details()
    outcomes = {replicate_key(o.replicate): o for o in train(spec)}
    assert len(rows) == len(outcomes) == 6
    for row in rows:
        outcome = outcomes[f"{row['kind']} {json.dumps({**row['cell'], 'seed': row['seed']}, sort_keys=True)}"]
        assert row["groups"] == list(outcome.groups)
        for name in (
            "epoch",
            "train_before",
            "train_after",
            "test_before",
            "test_after",
            "accepted",
            "outcome",
            "s",
            "rank",
        ):
            assert row[f"jump_{name}"] == getattr(outcome.jumps, name).tolist()
        assert row["jump_spectral_radius"] == outcome.jumps.spectral_radius.tolist()
        for name in ("train_epoch", "train", "test_epoch", "test"):
            assert row[f"curve_{name}"].tolist() == getattr(outcome.losses, name).tolist()


def test_the_table_has_the_grids_order_whatever_ran_first(swept):
    swept({"axes.m": [6], "seeds": [1]})
    table = swept({"axes.m": [4, 6], "axes.s": [5, 2], "seeds": [1, 0]}).table()
    assert list(zip(table["m"], table["s"], table["seed"], strict=True)) == [
        (m, s, seed) for m in (4, 6) for s in (5, 2) for seed in (1, 0)
    ]


def test_only_cells_of_the_current_grid_are_shown(swept):
    full = swept().table()
    record = swept({"axes.m": [6], "seeds": [1]})
    same(record.table(), full[(full["m"] == 6) & (full["seed"] == 1)].reset_index(drop=True))
    assert record.statuses().to_dict() == {"finished": 1}
    assert len(record.done()) == 6  # nothing was deleted
    assert {row["seed"] for row in record.details() if row["kind"] == "cell"} == {1}
    same(swept().table(), full)


def test_a_record_without_replicates_is_an_empty_table(small, tmp_path):
    create(tmp_path, small(), None, None)
    record = open_study(tmp_path)
    table = record.table()
    assert len(table) == 0
    assert {"m", "s", "tolerance", "seed", "status", "final_loss_ratio_train", "pack"} <= set(table.columns)
    assert record.statuses().to_dict() == {}


def test_a_study_may_have_every_kind_of_axis(swept):
    axes = {
        "form": ["state", "displacement"],
        "training.lr": [0.05],
        "training.batch": ["full", 32],
        "network.hidden": [[], [4]],
        "problem.condition": [1.0, 1e5],
        "tolerance": [0.0],
    }
    changes = {"axes": {"m": [4], "s": [2], **axes}, "training.lr": None, "network": None, "seeds": 1}
    first = swept(changes)
    table = first.table()
    assert len(table) == 2**4
    for axis, values in axes.items():
        expected = [tuple(v) if isinstance(v, list) else v for v in values]
        assert list(dict.fromkeys(table[axis])) == expected
    assert table["final_loss_ratio_train"].notna().all()
    same(swept(changes).table(), table)
    trial = first.study.get_trials()[0]
    assert trial.distributions["form"] == optuna.distributions.CategoricalDistribution(["state", "displacement"])
    assert trial.distributions["problem.condition"].log
    assert not trial.distributions["tolerance"].log
    assert trial.distributions["m"] == optuna.distributions.IntDistribution(4, 4)


def test_a_value_may_join_whose_place_on_the_first_scale_there_is_none(swept, training_forbidden):
    changes = {"axes.m": [4], "axes.s": [2], "seeds": 1}
    swept({**changes, "axes.tolerance": [1e-10, 1e-2]})
    wider = {**changes, "axes.tolerance": [0.0, 1e-10, 1e-2, 0.5], "seeds": 2}
    table = swept(wider).table()
    assert table["tolerance"].tolist() == [0.0, 0.0, 1e-10, 1e-10, 1e-2, 1e-2, 0.5, 0.5]
    training_forbidden()
    same(swept(wider).table(), table)


def test_whole_numbers_too_large_for_a_float_keep_every_digit(swept, training_forbidden):
    seeds = [2**60 + 1, 2**60 + 2]
    changes = {"axes": {"m": [4], "s": [2], "problem.seed": seeds}, "method.tolerance": 0.1, "seeds": 1}
    assert swept(changes).table()["problem.seed"].tolist() == seeds
    training_forbidden()
    assert len(swept(changes).done()) == 4


def test_an_infinite_metric_is_stored_as_such(small, tmp_path):
    spec = small({"seeds": 1})
    record = create(tmp_path, spec, None, None)
    for replicate, after in zip(replicates(spec)[:2], (math.inf, math.nan), strict=True):
        outcome = finished(replicate, after)
        assert outcome_metrics(outcome)["mean_relative_error_train"] == math.inf
        record.add(plan(spec, [replicate])[0], [outcome], {}, spec)
    assert [trial.value for trial in record.study.get_trials()] == [math.inf] * 2
    assert open_study(tmp_path).table()["mean_relative_error_train"].tolist() == [math.inf] * 2


def finished(replicate, after=1.0):
    """An outcome with one jump, whose prediction has this loss."""
    from study.replicates.outcome import failed

    one = np.ones(1)
    jumps = JumpHistory(
        epoch=np.array([4]),
        train_before=one,
        train_after=np.array([after]),
        test_before=one,
        test_after=np.array([after]),
        outcome=np.array(["accepted"]),
        s=np.array([5]),
        rank=np.array([[2]]),
        spectral_radius=np.array([[1.0]]),
    )
    return replace(failed(replicate, ""), status="finished", epoch=24, losses=Losses(1.0, 1.0), jumps=jumps)


def test_replicates_whose_jumps_are_all_rejected_unseen_are_recorded(swept):
    record = swept({"method.max_residual": 0.0, "axes.tolerance": [0.5]})
    assert record.statuses().to_dict() == {"finished": 4}
    assert record.table()["mean_relative_error_train"].isna().all()
    assert {trial.value for trial in record.study.get_trials()} == {math.inf}  # Optuna refuses NaN
    assert record.jump_outcomes() == {"rejected_residual": 20}


# one trial per replicate


def test_one_optuna_trial_per_replicate_with_few_attributes(swept):
    record = swept({"network": None, "axes.network.hidden": [[], [4]], "seeds": 1})
    assert (len(record.study.get_trials()), len(record.baseline.get_trials())) == (4, 2)
    for trial in [*record.study.get_trials(), *record.baseline.get_trials()]:
        assert trial.state == optuna.trial.TrialState.COMPLETE
        assert 3 <= len(trial.user_attrs) <= 8
        assert trial.user_attrs["status"] == "finished"
    names = optuna.get_all_study_names(record.url)
    assert sorted(names) == ["small", "small/baseline"]
    table = record.table()
    assert sorted(t.value for t in record.study.get_trials()) == sorted(table["mean_relative_error_train"])
    assert record.study.best_value == table["mean_relative_error_train"].min()


def test_plain_trainings_with_values_of_their_own_are_trials_of_the_baselines(swept, training_forbidden, tmp_path):
    without = swept({"seeds": 1}, folder=tmp_path / "without").table()
    record = swept({"seeds": 1, "baseline": {"training.lr": [0.01, 0.05, 0.1]}})
    trials = record.baseline.get_trials()
    assert [trial.params.get("training.lr") for trial in trials] == [None, 0.01, 0.1]  # 0.05 is the spec's own
    assert [trial.distributions.get("training.lr") for trial in trials[1:]] == [
        optuna.distributions.FloatDistribution(0.01, 0.1)
    ] * 2
    assert [trial.user_attrs["status"] for trial in trials] == ["finished"] * 3
    assert len(record.study.get_trials()) == 2
    same(record.table(), without)  # each cell is compared with the baseline of its own training
    losses = {row["cell"].get("training.lr"): row["final_loss_train"] for row in record.details() if not row["jumps"]}
    assert losses[0.1] < losses[None] < losses[0.01]
    training_forbidden()
    same(swept({"seeds": 1}).table(), without)  # what plain training is tuned by is no part of the study's identity


def test_diverged_and_failed_replicates_are_failed_trials_and_rows(swept, small, tmp_path, training_forbidden):
    record = swept({"training.lr": 40.0, "training.epochs": 60})
    assert record.statuses().to_dict() == {"diverged": 4}
    for trial in [*record.study.get_trials(), *record.baseline.get_trials()]:
        assert trial.state == optuna.trial.TrialState.FAIL
        assert trial.value is None
        assert trial.user_attrs["status"] == "diverged"
        assert 1 <= trial.user_attrs["epoch"] < 60
        assert len(trial.user_attrs) <= 8
    table = record.table()
    assert (table["mean_relative_error_train"] == math.inf).all()
    assert table["final_loss_ratio_train"].isna().all()  # its baseline has no final loss

    from study.replicates.outcome import failed

    spec, folder = small(), tmp_path / "failed"
    record = create(folder, spec, None, None)
    pack = plan(spec, replicates(spec)[:1])[0]
    record.add(pack, [failed(pack.replicates[0], "Traceback\n  line\nValueError: the reason")], {}, spec)
    (trial,) = record.study.get_trials()
    assert (trial.user_attrs["status"], trial.user_attrs["reason"]) == ("failed", "ValueError: the reason")
    row = open_study(folder).table().iloc[0]
    assert (row["status"], row["reason"]) == ("failed", "Traceback\n  line\nValueError: the reason")
    assert record.missing(replicates(spec)) == replicates(spec)[1:]

    spec = small({"network": None, "axes.network.hidden": [[4]], "name": "lists"})
    record = create(tmp_path / "lists", spec, None, None)
    pack = plan(spec, replicates(spec)[:1])[0]
    record.add(pack, [failed(pack.replicates[0], "ValueError: the reason")], {}, spec)
    assert len(record.study.get_trials()[0].user_attrs) == 8  # the most there are
    assert open_study(tmp_path / "lists").table().iloc[0]["reason"] == "ValueError: the reason"


def test_a_diverged_baseline_leaves_its_replicates_without_ratio_only(small, tmp_path):
    spec = small({"seeds": 1, "axes.m": [4], "axes.s": [2]})
    record = create(tmp_path, spec, None, None)
    outcomes = [replace(finished(baselines(spec)[0]), status="diverged"), finished(replicates(spec)[0], 0.5)]
    for outcome in outcomes:
        record.add(plan(spec, [outcome.replicate])[0], [outcome], {}, spec)
    row = record.table().iloc[0]
    assert row["mean_relative_error_train"] == 0.5
    assert math.isnan(row["final_loss_ratio_train"])
    assert math.isnan(row["steps_to_baseline_loss"])


def test_ratios_are_to_the_baseline_with_the_same_learning_rate_and_seed(small, train, swept):
    changes = {"training.lr": None, "axes.training.lr": [0.05, 0.01], "axes.problem.seed": [3, 4], "axes.s": [2]}
    spec = small(changes)
    table = swept(changes).table()
    plain = {
        (o.replicate.parameters["training.lr"], o.replicate.parameters["problem.seed"], o.replicate.seed): o
        for o in train(spec, baselines(spec))
    }
    assert len({o.losses.final_train for o in plain.values()}) == len(plain) == 8
    for _, row in table.iterrows():
        baseline = plain[row["training.lr"], row["problem.seed"], row["seed"]]
        assert row["final_loss_ratio_train"] == row["final_loss_train"] / baseline.losses.final_train


# adding


def test_adding_twice_changes_nothing(small, train, tmp_path, contents):
    spec = small({"resources": {"pack": 4}})
    record = create(tmp_path, spec, None, None)
    pack = plan(spec, replicates(spec))[0]
    outcomes = train(spec, pack.replicates)
    record.add(pack, outcomes, {}, spec)
    before, table = contents(tmp_path), record.table()
    assert len(table) == 4
    again = train(spec, pack.replicates)
    assert [o.seconds.training for o in again] != [o.seconds.training for o in outcomes]
    record.add(pack, again, {}, spec)
    create(tmp_path, spec, None, None).add(pack, again, {}, spec)
    assert contents(tmp_path) == before
    pd.testing.assert_frame_equal(open_study(tmp_path).table(), table)


def test_a_pack_that_ends_in_parts_keeps_every_row(small, train, tmp_path):
    spec = small({"resources": {"pack": 4}})
    record = create(tmp_path, spec, None, None)
    pack = plan(spec, replicates(spec))[0]
    outcomes = train(spec, pack.replicates)
    record.add(pack, outcomes[:2], {}, spec)
    record.add(pack, outcomes, {}, spec)
    assert len(record.study.get_trials()) == 4
    assert len(record.table()) == 4


def test_rows_are_in_place_before_their_trials(raw, small, swept, tmp_path, monkeypatch):
    """Killed between the two, a run leaves rows that no trial points to: the next one gives them theirs."""

    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("study.record._ledger.add_together", killed)
        with pytest.raises(Killed):
            run(raw(), folder, executor="inline")
    spec = small()
    first = plan(spec, baselines(spec))[0]
    path = folder / "packs" / f"{first.id}.parquet"
    assert [p.name for p in (folder / "packs").iterdir()] == [path.name]
    left = path.read_bytes()
    record = open_study(folder)
    assert record.done() == {}
    assert len(record.table()) == 0
    assert len(swept().done()) == 6
    assert path.read_bytes() == left  # timings too: it was not trained again
    same(swept().table(), swept(folder=tmp_path / "other").table())


def test_the_trials_of_a_pack_are_added_together_or_not_at_all(raw, small, swept, tmp_path):
    class Killed(BaseException):
        pass

    folder, calls = tmp_path / "out", []

    def killed(connection, cursor, statement, *arguments):
        if "INSERT INTO trial_params" in statement:
            calls.append(statement)
            if len(calls) == 2:  # of the second pack
                raise Killed

    changes = {"resources": {"pack": 3}}
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", killed)
    try:
        with pytest.raises(Killed):
            run(raw(changes), folder, executor="inline")
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", killed)
    assert len(open_study(folder).done()) == 3
    spec = small(changes)
    pack = plan(spec, [*baselines(spec), *replicates(spec)])[1]
    left = open_study(folder).pack_path(pack.id).read_bytes()
    regrouped = ["pack", "stacked"]
    same(
        swept(changes).table().drop(columns=regrouped),
        swept(changes, folder=tmp_path / "other").table().drop(columns=regrouped),
    )
    record = open_study(folder)
    assert len(record.study.get_trials()) == 4
    assert record.pack_path(pack.id).read_bytes() == left


def test_nothing_temporary_is_left(swept):
    record = swept()
    found = {path.name for path in record.folder.iterdir()}
    assert found == {"study.db", "spec.yaml", "packs", ".lock"}
    assert all(path.suffix == ".parquet" for path in (record.folder / "packs").iterdir())


# resuming


def test_a_second_run_trains_nothing(swept, training_forbidden, contents):
    record = swept()
    before = contents(record.folder)
    training_forbidden()
    swept()
    assert contents(record.folder) == before


def test_only_what_is_new_is_trained(raw, swept, monkeypatch):
    import study.training.packs

    first = swept().table()
    trained, real = [], study.training.packs.train_pack

    def listening(pack, tasks, rules):
        trained.extend(pack.replicates)
        return real(pack, tasks, rules)

    monkeypatch.setattr(study.training.packs, "train_pack", listening)
    wider = {"axes.m": [4, 5, 6], "axes.tolerance": [1e-6, 1e-3], "seeds": 3}
    table = swept(wider).table()
    found = [(r.parameters.get("m"), r.parameters.get("tolerance"), r.seed) for r in trained]
    assert len(found) == len({replicate_key(r) for r in trained}) == 3 * 2 * 3 - 4 + 1
    assert not {(m, 1e-6, seed) for m in (4, 6) for seed in (0, 1)} & set(found)
    assert len(table) == 18
    again = table[(table["m"] != 5) & (table["tolerance"] == 1e-6) & (table["seed"] < 2)]
    pd.testing.assert_frame_equal(again.reset_index(drop=True), first)  # timings too: the very rows
    monkeypatch.setattr(study.training.packs, "train_pack", real)


def test_a_damaged_pack_is_named_and_the_rest_is_shown(swept):
    record = swept()
    table = record.table()
    paths = [record.pack_path(pack) for pack in dict.fromkeys(table["pack"])]
    paths[0].write_bytes(paths[0].read_bytes()[:100])
    paths[1].unlink()
    paths[2].write_bytes(b"")
    with pytest.warns(UserWarning, match="left out, since they cannot be read: ") as caught:
        left = open_study(record.folder).table()
    assert len(caught) == 1
    assert all(str(path) in str(caught[0].message) for path in paths[:3])
    pd.testing.assert_frame_equal(left, table[3:].reset_index(drop=True))
    assert record.statuses().to_dict() == {"finished": 4}


def test_packs_say_what_they_are(swept, small):
    record = swept()
    metadata = json.loads(pq.read_schema(record.pack_path(record.table()["pack"][0])).metadata[b"dmd_study"])
    assert metadata["study"] == "small"
    assert metadata["spec_hash"] == small().hash()
    assert metadata["format_version"] == 3
    columns = pq.read_schema(record.pack_path(record.table()["pack"][0])).names
    assert {"final_epoch", "end_loss_train", "end_loss_test", "seconds_recording", "started_at", "ended_at"} <= {
        *columns
    }
    assert {"torch", "numpy", "python", "processor", "dmd_study"} <= set(metadata)


def test_the_spec_beside_the_record_can_be_run_again(swept):
    record = swept({"axes.s": {"from": 2, "to": 6, "step": 2}})
    assert load_spec(record.folder / "spec.yaml").to_dict() == record.spec
    assert "password" not in (record.folder / "spec.yaml").read_text()


# refusals


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"training.epochs": 25, "method.form": "displacement"},
            [
                "another study",
                "training.epochs: 24 recorded, 25 now",
                "method.form: 'state' recorded, 'displacement' now",
            ],
        ),
        ({"axes.form": ["state"]}, ["axes: ['m', 's', 'tolerance'] recorded, ['form', 'm', 's', 'tolerance'] now"]),
        ({"problem.seed": 1}, ["problem.seed: 0 recorded, 1 now"]),
        ({"name": "other"}, ["holds the study 'small', not 'other'"]),
    ],
)
def test_another_study_is_refused_with_the_difference(raw, swept, contents, changes, expected):
    folder = swept().folder
    before = contents(folder)
    with pytest.raises(UserError) as caught:
        run(raw(changes), folder, executor="inline")
    assert str(folder) in str(caught.value)
    for text in expected:
        assert text in str(caught.value)
    assert "24 recorded" not in str(caught.value) or "training.epochs" in changes  # the difference alone
    assert contents(folder) == before


def test_another_format_version_is_refused(raw, swept, contents):
    folder = swept().folder
    with sqlite3.connect(folder / "study.db") as database:
        database.execute("UPDATE study_user_attributes SET value_json = '99' WHERE key = 'format_version'")
    database.close()
    before = contents(folder)
    for attempt in (lambda: run(raw(), folder, executor="inline"), lambda: open_study(folder)):
        with pytest.raises(UserError, match="of format version 99; this version of dmd-study reads 1, 2 and 3\\."):
            attempt()
    assert contents(folder) == before


@pytest.mark.parametrize("made", ["missing", "empty", "file"])
def test_a_folder_without_a_study_cannot_be_read(tmp_path, made):
    folder = tmp_path / "nothing"
    if made == "empty":
        folder.mkdir()
    elif made == "file":
        folder.write_text("a file")
    with pytest.raises(UserError, match="holds no study: `dmd-study run SPEC --out "):
        open_study(folder)
    assert list(tmp_path.rglob("*")) == ([] if made == "missing" else [folder])


def test_a_database_that_is_none(raw, tmp_path):
    (tmp_path / "study.db").write_bytes(b"not a database at all" * 100)
    for attempt in (lambda: open_study(tmp_path), lambda: run(raw(), tmp_path, executor="inline")):
        with pytest.raises(UserError, match=r"study\.db is damaged: file is not a database"):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.parametrize("below", ["file/out", "file"])
def test_a_folder_that_cannot_be_made(raw, tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written to: .*; choose another --out, or make room"):
        run(raw(), tmp_path / below, executor="inline")
    assert (tmp_path / "file").read_text() == "in the way"


# storages


def test_the_record_may_be_kept_elsewhere(raw, tmp_path, monkeypatch, training_forbidden):
    url, folder = f"sqlite:///{tmp_path / 'central.db'}", tmp_path / "out"
    table = run(raw(), folder, executor="inline", storage=url).table()
    assert len(table) == 4
    assert not (folder / "study.db").exists()
    assert "central.db" not in (folder / "spec.yaml").read_text()
    with pytest.raises(UserError, match="holds no study"):
        open_study(folder)
    monkeypatch.setenv("DMD_STUDY_STORAGE", url)
    pd.testing.assert_frame_equal(open_study(folder).table(), table)
    training_forbidden()
    run(raw(), folder, executor="inline")
    with pytest.raises(UserError, match="holds the study 'small', not 'other'"):
        run(raw({"name": "other"}), folder, executor="inline")
    with pytest.raises(UserError, match=r"empty\.db holds no study named 'small'; was it run with another --storage"):
        open_study(folder, f"sqlite:///{tmp_path / 'empty.db'}")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite:////no/such/folder/x.db",
        "postgresql://user:hunter2@127.0.0.1:1/study",
        "postgresql+psycopg://user:hunter2@127.0.0.1:1/study",
        "mysql://user:hunter2@127.0.0.1:1/study",
        "redis://user:hunter2@127.0.0.1:1/0",
        "://user:hunter2@",
    ],
)
def test_a_storage_that_cannot_be_opened_leaves_nothing_and_keeps_its_password(raw, tmp_path, url):
    with pytest.raises(UserError, match="the storage could not be opened: ") as caught:
        run(raw(), tmp_path / "out", executor="inline", storage=url)
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_is_being_made_holds_no_study_and_is_left_to_its_maker(swept, tmp_path):
    """The revision of the tables' layout is written last: one who reads before would write it in the maker's place."""
    swept()
    with closing(sqlite3.connect(tmp_path / "out" / "study.db")) as database, database:
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        database.execute("DELETE FROM alembic_version")
    with pytest.raises(UserError, match="holds no study"):
        open_study(tmp_path / "out")
    with closing(sqlite3.connect(tmp_path / "out" / "study.db")) as database, database:
        assert not database.execute("SELECT * FROM alembic_version").fetchall()
        database.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    assert len(open_study(tmp_path / "out").table())


def test_a_storage_that_could_not_be_opened_keeps_no_connection(tmp_path, monkeypatch):
    engines = []

    def fail(manager, url, engine, session):
        engine.connect().close()  # which goes back to the pool, open
        assert engine.pool.checkedin() == 1
        engines.append(engine)
        raise ValueError("some trouble")

    monkeypatch.setattr("optuna.storages._rdb.storage._VersionManager.__init__", fail)
    with pytest.raises(UserError, match="some trouble"):
        open_storage(f"sqlite:///{tmp_path}/study.db", make=True)
    assert [engine.pool.checkedin() for engine in engines] == [0]


def test_passwords_are_masked():
    assert masked("postgresql://user:hunter2@host/study") == "postgresql://user:***@host/study"
    assert masked("sqlite:////some/where.db") == "sqlite:////some/where.db"


def test_a_storage_that_fails_while_writing_says_which_and_why(small, train, tmp_path, monkeypatch):
    spec = small()
    record = create(tmp_path, spec, None, None)
    record.url = "postgresql://user:hunter2@host/study"

    def full(*arguments):
        raise sqlalchemy.exc.DatabaseError("INSERT", {}, OSError("database or disk is full\n[SQL: ...]"))

    monkeypatch.setattr("study.record._ledger.add_together", full)
    pack = plan(spec, baselines(spec))[0]
    with pytest.raises(
        OSError, match=r"^postgresql://user:\*\*\*@host/study cannot be written to: database or disk is"
    ):
        record.add(pack, train(spec, pack.replicates), {}, spec)
    assert record.done() == {}


# code of the user's own


def test_code_that_has_changed_since_is_warned_of(small, tmp_path):
    spec = small()
    create(tmp_path, spec, None, "one hash")
    create(tmp_path, spec, None, "one hash")
    with pytest.warns(UserWarning, match="the code of the problem or rule has changed since the record was begun"):
        create(tmp_path, spec, None, "another hash")


def test_reading_never_imports_what_a_record_names(small, tmp_path):
    spec = small()
    record = create(tmp_path, spec, None, None)
    named = {**spec.to_dict(), "problem": {"name": "nowhere_to_be_found:Problem"}, "method": {"name": "nowhere:Rule"}}
    record.study.set_user_attr("spec", named)
    assert len(open_study(tmp_path).table()) == 0
    assert open_study(tmp_path).statuses().to_dict() == {}


def test_a_record_can_be_read_from_another_place(swept, tmp_path):
    record = swept()
    moved = tmp_path / "moved"
    shutil.copytree(record.folder, moved)
    shutil.rmtree(record.folder)
    assert isinstance(open_study(moved), Record)
    assert len(open_study(str(moved)).table()) == 4
    assert yaml.safe_load((moved / "spec.yaml").read_text())["name"] == "small"


def test_every_metric_has_its_columns_in_the_table(swept):
    table = swept({"axes.m": [4], "axes.s": [2], "seeds": 1}).table()
    of_others = {"prediction_error", "accuracy"} | {name for name in METRICS if "speedup" in name}
    of_others |= {"iterations", "convergence_factor"}  # of probes, classifiers and multigrid
    for name, metric in METRICS.items():
        assert table[metric.columns].notna().all(axis=None) == (name not in of_others), name


def test_unrecorded_is_in_the_order_asked_for(small, train, tmp_path):
    spec = small()
    record = create(tmp_path, spec, None, None)
    everything = [*baselines(spec), *replicates(spec)]
    assert record.missing(everything) == everything
    pack = Pack("some", tuple(everything[3:5]), 1, "cpu")
    record.add(pack, train(spec, pack.replicates), {}, spec)
    assert record.missing(everything) == [*everything[:3], *everything[5:]]
    assert make_tasks(spec, []) == {}


def test_provenance_is_told_once_for_all_that_share_it(swept, small, train, tmp_path):
    swept()
    spec = small({"axes.s": [2], "seeds": 3})
    record = create(tmp_path / "out", spec, None, None)
    for number, own in enumerate(r for r in replicates(spec) if r.seed == 2):
        pack = Pack(f"elsewhere{number}", (own,), 1, "cpu")
        record.add(pack, train(spec, [own]), {"torch": "1.0", "notes": [str(number)], "ray_node": "x"}, spec)
    here, elsewhere = open_study(tmp_path / "out").provenance()
    assert (here["replicates"], here["torch"]) == (6, torch.__version__)  # 2 cells and a baseline, of 2 seeds
    assert elsewhere == {"replicates": 2, "torch": "1.0"}
