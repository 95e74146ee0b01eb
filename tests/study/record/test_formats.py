"""Records of older formats open, say what they hold, and go on."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from study import load_spec, open_study, run
from study.planning.cells import baselines, replicates
from study.record import _rows
from study.replicates.metric_catalogue import SPLITS
from study.replicates.outcome import failed

OLD = {version: Path(__file__).with_name(f"format_{version}") for version in (1, 2)}
"""Studies of 2 cells, 1 seed and 24 epochs, and the tables of then, whose final losses are those at the end.

1 was run when jumps had no recorded outcomes: jumps every 4 and every 6 epochs, the last ones at the end. 2 was run
when there was one reading of the last losses: jumps every 4 and every 5 epochs until epoch 20, in one pack.
"""
JUMPS = {1: [6, 4], 2: [5, 4]}
SETTLED_AT = {1: [24, 24], 2: [24, 20]}
"""Epochs that the final losses are read at, by hand: that of the last jump, if less than a window follows it."""
NEW = {"final_epoch", "seconds_recording", *(f"end_loss_{split}" for split in SPLITS)}
"""Columns of the table that format 3 brought."""


@pytest.fixture(params=OLD)
def version(request):
    return request.param


@pytest.fixture
def folder(version, tmp_path):
    shutil.copytree(OLD[version], tmp_path / "old", ignore=shutil.ignore_patterns("table.csv"))
    return tmp_path / "old"


def test_an_old_record_opens(version, folder, dmd_study):
    record = open_study(folder)
    assert record.attributes["format_version"] == version
    assert record.damaged() == {}  # also its digests, which columns that came later must not change
    then = pd.read_csv(OLD[version] / "table.csv")
    table = record.table()
    assert set(table.columns) - set(then.columns) == NEW
    assert table["seconds_recording"].isna().all()
    read_anew = [column for column in table if column.startswith("final_")]
    numbers = table.drop(columns=[*read_anew, *NEW - {"final_epoch"}]).select_dtypes("number").columns
    pd.testing.assert_frame_equal(table[numbers], then[numbers], check_exact=True, check_dtype=False)
    details = [row for row in record.details() if row["kind"] == "cell"]
    assert [len(row["jump_accepted"]) for row in sorted(details, key=lambda row: row["cell"]["m"])] == JUMPS[version]
    if version == 1:
        assert all(row["jump_outcome"] is row["jump_s"] is None for row in details)
    assert dmd_study("status", folder).out.startswith(
        f"small: 2 replicates: 2 finished\n  jumps: {sum(JUMPS[version])} accepted\n"
    )
    assert dmd_study("figures", folder, "--only", "jumps", "--to", folder / "pictures").status == 0
    assert dmd_study("report", folder).status == 0


def test_final_losses_of_an_old_record_are_settled(version, folder):
    """Its packs hold the losses at the end, and what is needed to read them where a window of plain steps leads to."""
    record, then = open_study(folder), pd.read_csv(OLD[version] / "table.csv")
    table, rows = record.table(), {row["cell"].get("m"): row for row in record.details()}
    assert table["final_epoch"].tolist() == SETTLED_AT[version]
    for split in SPLITS:
        assert table[f"end_loss_{split}"].tolist() == then[f"final_loss_{split}"].tolist()
        plain = dict(zip(rows[None][f"curve_{split}_epoch"], rows[None][f"curve_{split}"], strict=True))
        for (_, row), at in zip(table.iterrows(), SETTLED_AT[version], strict=True):
            jumps = rows[row["m"]]
            settled = jumps[f"jump_{split}_before"][-1] if at == jumps["jump_epoch"][-1] else row[f"end_loss_{split}"]
            assert row[f"final_loss_{split}"] == jumps[f"final_loss_{split}"] == settled
            assert row[f"final_loss_ratio_{split}"] == settled / plain[at]
        assert rows[None][f"final_loss_{split}"] == rows[None][f"end_loss_{split}"] == plain[24]
    assert rows[None]["final_epoch"] == 24
    changed = table["final_loss_train"] != table["end_loss_train"]
    assert changed.tolist() == {1: [True, True], 2: [False, True]}[version]


def test_the_trials_of_an_old_record_are_made_anew_by_its_settled_losses(version, folder):
    before = {trial.params["m"]: trial.user_attrs for trial in open_study(folder).study.trials}
    (folder / "study.db").write_bytes(b"not a database")
    with pytest.warns(UserWarning, match="damaged"):
        record = run(folder / "spec.yaml", folder, executor="inline")
    settled = record.table().set_index("m")
    for trial in record.study.trials:
        m, told = trial.params["m"], dict(trial.user_attrs)
        assert told.pop("seconds") == pytest.approx(before[m].pop("seconds"), rel=1e-12)  # summed in another order
        assert told == before[m] | {"final_loss_train": settled["final_loss_train"][m]}


def test_a_complete_old_record_is_left_as_it_is(folder, contents):
    before = contents(folder)
    run(folder / "spec.yaml", folder, executor="inline")
    assert contents(folder) == before


def test_an_old_record_goes_on_as_the_same_study(version, folder, dmd_study):
    before = open_study(folder).table()
    old_packs = {path: path.read_bytes() for path in (folder / "packs").iterdir()}
    record = run(folder / "spec.yaml", folder, executor="inline", overrides={"seeds": 2})
    assert {path: path.read_bytes() for path in old_packs} == old_packs  # nothing was trained again
    assert record.attributes["format_version"] == record.baseline.user_attrs["format_version"] == 3
    assert record.attributes["spec_hash"] == load_spec(folder / "spec.yaml").hash()
    table = record.table()
    assert table["seed"].tolist() == [0, 1, 0, 1]
    again = table[table["seed"] == 0].reset_index(drop=True)
    before["seconds_recording"] = before["seconds_recording"].astype(float)  # no longer a column of nothing
    pd.testing.assert_frame_equal(again, before, check_exact=True)
    assert table["final_epoch"].tolist() == np.repeat(SETTLED_AT[version], 2).tolist()
    assert table["seconds_recording"].notna().tolist() == [False, True] * 2
    new = [row for row in record.details() if row["kind"] == "cell" and row["seed"] == 1]
    new.sort(key=lambda row: row["cell"]["m"])
    assert [row["jump_outcome"] for row in new] == [["accepted"] * jumps for jumps in JUMPS[version]]
    assert [row["jump_s"] for row in new] == [[5] * jumps for jumps in JUMPS[version]]
    assert all(row["started_at"] > 0 for row in new)
    assert record.jump_outcomes() == {"accepted": 2 * sum(JUMPS[version])}
    told = dmd_study("status", folder).out
    assert told.startswith(f"small: 4 replicates: 4 finished\n  jumps: {2 * sum(JUMPS[version])} accepted\n")
    (path,) = {record.pack_path(table["pack"][1])}
    assert json.loads(pq.read_schema(path).metadata[b"dmd_study"])["format_version"] == 3


def test_what_was_trained_then_is_trained_alike_now(folder, tmp_path):
    now = run(folder / "spec.yaml", tmp_path / "new", executor="inline").table()
    then = open_study(folder).table()
    # the digits of a quadratic are the same on every machine up to rounding
    timings = [column for column in then if column.startswith(("seconds", "pack", "measured"))]
    pd.testing.assert_frame_equal(now.drop(columns=timings), then.drop(columns=timings), rtol=1e-5)


# rows of every kind, written as format 2 had them


def as_in_format_2(path):
    """Take the columns of format 3 out of a pack: the losses at the end were the final ones."""
    table = pq.read_table(path)
    description = json.loads(table.schema.metadata[b"dmd_study"])
    for split in SPLITS:
        place = table.column_names.index(f"final_loss_{split}")
        table = table.set_column(place, f"final_loss_{split}", table[f"end_loss_{split}"])
    table = table.drop_columns([*NEW, "started_at", "ended_at"]).replace_schema_metadata()
    description = {name: value for name, value in description.items() if name != "digest"} | {"format_version": 2}
    description["digest"] = _rows._digest(table, description)
    pq.write_table(table.replace_schema_metadata({"dmd_study": json.dumps(description)}), path)


COLUMNS = [
    _rows.SCHEMA.names,
    _rows.COLUMNS_READ,
    *((name, "parameters") for name in ("final_epoch", "final_loss_train", "end_loss_test", "epoch")),
]


def test_a_pack_of_format_2_has_the_columns_that_format_3_has_not_brought():
    (path,) = (OLD[2] / "packs").iterdir()
    assert set(_rows.SCHEMA.names) - set(pq.read_schema(path).names) == NEW | {"started_at", "ended_at"}


@pytest.mark.parametrize("columns", COLUMNS)
def test_rows_of_every_kind_read_alike_in_both_formats(small, train, tmp_path, columns):
    rejecting, diverging = {"method.accept": "improve", "axes.tolerance": [0.0]}, {"training.lr": 40.0}
    changes = {
        "settled": {"axes.m": [4, 5, 7, 11, 12, 13, 24]},
        "stopped": {"axes.m": [4, 5, 6, 9], "method.stop": 20},
        "rejected": {"axes.m": [4, 6, 7], "axes.s": [10**8], **rejecting},
        "diverged": {"axes.m": [4, 6], **diverging, "training.epochs": 60},
        "probed": {"axes.m": [4, 5], "method.mode": "probe"},
        "alternative": {"axes": {"decay": [0.5]}, "method": {"name": "ema"}},
    }
    outcomes = []
    for changed in changes.values():
        spec = small({"seeds": 1, **changed})
        outcomes += train(spec, [*baselines(spec), *replicates(spec)])
    outcomes.append(failed(replicates(small())[0], "some reason"))
    statuses = [outcome.status for outcome in outcomes]
    assert (statuses.count("diverged"), statuses.count("failed")) == (5, 1)
    path = tmp_path / "pack.parquet"
    _rows.write_pack(path, [_rows.row_of(outcome) for outcome in outcomes], {"spec_hash": "x", "study": "small"})
    expected = _rows.read_pack(path, columns)
    as_in_format_2(path)
    assert _rows.inspect_pack(path).damage is None
    rows = _rows.read_pack(path, columns)
    assert [set(row) for row in rows] == [set(row) for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        for name, value in row.items():
            if name in ("started_at", "ended_at", "seconds_recording"):
                assert value is None
            else:
                np.testing.assert_equal(value, wanted[name], err_msg=name)
    if "end_loss_train" in columns:
        # all 14 cells of the first, and m = 5 and 9 of the second, whose last jumps have less than a window after them
        moved = [
            row
            for row in rows
            if row["final_loss_train"] < math.inf and row["final_loss_train"] != row["end_loss_train"]
        ]
        assert len(moved) == 14 + 4


def test_the_fixtures_are_of_the_same_study(version):
    spec = yaml.safe_load((OLD[version] / "spec.yaml").read_text())
    assert (spec["name"], spec["training"]["epochs"], len(spec["axes"]["m"])) == ("small", 24, 2)
