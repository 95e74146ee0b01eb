"""Trials of a record carry what its packs hold: the times of the training, and points of its loss curve."""

import json
import math
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study import open_study, run
from study.record import _rows
from study.record._files import packs
from study.record._trials import MAX_POINTS, _points

OLD = Path(__file__).with_name("format_1")


def trials(record) -> list[Any]:
    return [*record.study.get_trials(deepcopy=False), *record.baseline.get_trials(deepcopy=False)]


def rows_by_replicate(record) -> dict[tuple[str, str, int], dict[str, Any]]:
    return {(row["kind"], json.dumps(row["cell"]), row["seed"]): row for row in record.details()}


def matched(record) -> list[tuple[Any, dict[str, Any]]]:
    """Every trial with its row."""
    rows = rows_by_replicate(record)
    pairs = []
    for kind, study in (("cell", record.study), ("baseline", record.baseline)):
        for trial in study.get_trials(deepcopy=False):
            cell = {name: value for name, value in trial.params.items() if name != "seed"}
            pairs.append((trial, rows[kind, json.dumps(cell), trial.params["seed"]]))
    return pairs


@pytest.fixture
def changes() -> dict[str, Any]:
    """Some replicates diverge, and those of one pack are trained side by side."""
    return {"training.lr": None, "axes.training.lr": [0.05, 1e9], "resources": {"pack": 2}}


def test_trials_have_the_times_and_curves_of_their_training(raw, changes, tmp_path) -> None:
    before = time.time()
    record = run(raw(changes), tmp_path / "out", executor="inline")
    after = time.time()
    pairs = matched(record)
    assert len(pairs) == len(record.details()) > 4
    assert {row["status"] for _, row in pairs} == {"finished", "diverged"}
    for trial, row in pairs:
        assert before <= row["started_at"] < row["ended_at"] <= after
        assert trial.datetime_start == datetime.fromtimestamp(row["started_at"])
        assert trial.datetime_complete == datetime.fromtimestamp(row["ended_at"])
        finite = np.isfinite(row["curve_train"])
        curve = dict(zip(row["curve_train_epoch"][finite], row["curve_train"][finite], strict=True))
        points = trial.intermediate_values
        assert points.items() <= curve.items()
        assert len(points) == min(len(curve), MAX_POINTS)
        assert (min(points), max(points)) == (min(curve), max(curve))  # epochs
    starts = {}
    for trial, _ in pairs:
        starts.setdefault(trial.user_attrs["pack"], set()).add(trial.datetime_start)
    assert len(starts) > 1
    assert all(len(each) <= 2 for each in starts.values())


def test_a_database_that_is_made_anew_has_the_same_trials(raw, changes, tmp_path) -> None:
    record = run(raw(changes), tmp_path / "out", executor="inline")

    def told(record) -> list[Any]:
        return sorted(
            (str(t.params), t.datetime_start, t.datetime_complete, t.intermediate_values) for t in trials(record)
        )

    first = told(record)
    record.close()
    (tmp_path / "out" / "study.db").write_bytes(b"not a database")
    with pytest.warns(UserWarning, match="damaged"):
        again = run(raw(changes), tmp_path / "out", executor="inline")
    assert told(again) == first


def test_packs_without_times_have_trials_without_duration(tmp_path) -> None:
    folder = shutil.copytree(OLD, tmp_path / "old", ignore=shutil.ignore_patterns("table.csv"))
    (folder / "study.db").write_bytes(b"not a database")
    before = datetime.now()
    with pytest.warns(UserWarning, match="damaged"):
        record = run(folder / "spec.yaml", folder, executor="inline")
    assert {row["started_at"] for row in record.details()} == {None}
    for trial in trials(record):
        assert before <= trial.datetime_start == trial.datetime_complete
        assert len(trial.intermediate_values) == MAX_POINTS
    assert open_study(folder).damaged() == {}


@pytest.mark.parametrize("kind", [list, np.array])
def test_points_are_finite_and_spread_evenly(kind) -> None:
    def row(losses: list[float]) -> dict[str, Any]:
        return {"curve_train_epoch": kind([2 * k for k in range(len(losses))]), "curve_train": kind(losses)}

    assert _points(row([])) == {}
    assert _points(row([0.5])) == {0: 0.5}
    assert _points(row([3.0, math.inf, 1.0, math.nan])) == {0: 3.0, 4: 1.0}
    assert list(_points(row([float(k) for k in range(91)]))) == [20 * k for k in range(10)]
    long = _points(row([float(k) for k in range(3000)] + [math.nan] * 7))
    assert len(long) == MAX_POINTS
    assert (long[0], long[5998]) == (0.0, 2999.0)
    assert all(type(epoch) is int and type(loss) is float for epoch, loss in long.items())


def test_a_pack_keeps_its_times(raw, tmp_path) -> None:
    record = run(raw(), tmp_path / "out", executor="inline")
    for path in packs(record.folder):
        for row in _rows.read_pack(path, ("started_at", "ended_at", "parameters")):
            assert 0 < row["started_at"] < row["ended_at"]
