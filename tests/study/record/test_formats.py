"""Records of older formats open, say what they hold, and go on."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from study import load_spec, open_study, run

OLD = Path(__file__).with_name("format_1")
"""A study that was run when jumps had no recorded outcomes: 2 cells, 1 seed."""


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(OLD, tmp_path / "old", ignore=shutil.ignore_patterns("table.csv"))
    return tmp_path / "old"


def test_a_record_of_format_1_opens(folder, dmd_study):
    record = open_study(folder)
    assert record.attributes["format_version"] == 1
    assert record.damaged() == {}  # also its digests, which columns that came later must not change
    expected = pd.read_csv(OLD / "table.csv")
    table = record.table()
    numbers = table.select_dtypes("number").columns
    pd.testing.assert_frame_equal(table[numbers], expected[numbers], check_exact=True, check_dtype=False)
    details = [row for row in record.details() if row["kind"] == "cell"]
    assert [len(row["jump_accepted"]) for row in details] == [6, 4]
    assert all(row["jump_outcome"] is row["jump_s"] is None for row in details)
    assert dmd_study("status", folder).out == "small: 2 replicates: 2 finished\n  jumps: 10 accepted\n"
    assert dmd_study("figures", folder, "--only", "jumps", "--to", folder / "pictures").status == 0
    assert dmd_study("report", folder).status == 0


def test_a_complete_record_of_format_1_is_left_as_it_is(folder, contents):
    before = contents(folder)
    run(folder / "spec.yaml", folder, executor="inline")
    assert contents(folder) == before


def test_a_record_of_format_1_goes_on_as_the_same_study(folder, dmd_study):
    before = open_study(folder).table()
    old_packs = {path: path.read_bytes() for path in (folder / "packs").iterdir()}
    record = run(folder / "spec.yaml", folder, executor="inline", overrides={"seeds": 2})
    assert {path: path.read_bytes() for path in old_packs} == old_packs  # nothing was trained again
    assert record.attributes["format_version"] == record.baseline.user_attrs["format_version"] == 2
    assert record.attributes["spec_hash"] == load_spec(folder / "spec.yaml").hash()
    table = record.table()
    assert table["seed"].tolist() == [0, 1, 0, 1]
    again = table[table["seed"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, before, check_exact=True)
    new = [row for row in record.details() if row["kind"] == "cell" and row["seed"] == 1]
    assert [row["jump_outcome"] for row in new] == [["accepted"] * 6, ["accepted"] * 4]
    assert [row["jump_s"] for row in new] == [[5] * 6, [5] * 4]
    assert record.jump_outcomes() == {"accepted": 20}
    said = dmd_study("status", folder).out
    assert said == "small: 4 replicates: 4 finished\n  jumps: 20 accepted\n"
    (path,) = {record.pack_path(table["pack"][1])}
    assert json.loads(pq.read_schema(path).metadata[b"dmd_study"])["format_version"] == 2


def test_what_was_trained_then_is_trained_alike_now(folder, tmp_path):
    now = run(folder / "spec.yaml", tmp_path / "new", executor="inline").table()
    then = open_study(folder).table()
    # the digits of a quadratic are the same on every machine up to rounding
    timings = [column for column in then if column.startswith(("seconds", "pack", "measured"))]
    pd.testing.assert_frame_equal(now.drop(columns=timings), then.drop(columns=timings), rtol=1e-5)
