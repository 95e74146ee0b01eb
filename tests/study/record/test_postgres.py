"""The record in PostgreSQL, on a real server: shared by studies, restarted under them, lost."""

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy
import yaml

from study import cli, open_study, run
from study.errors import UserError
from study.record import _database, _storage
from study.record._tables import add_together
from study.replicates.metric_catalogue import TIMINGS
from tests.study.record._postgres import PASSWORD, running

pytestmark = pytest.mark.slow
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server():
    with running() as started:
        yield started


@pytest.fixture
def url(server):
    """A database of the test's own."""
    return server.database(f"test_{next(_numbers)}")


def same(one, two):
    pd.testing.assert_frame_equal(one.drop(columns=list(TIMINGS)), two.drop(columns=list(TIMINGS)), check_exact=True)


def trials(url):
    """Trials of every study in a storage: none may be there twice."""
    storage = _storage.open_storage(url, make=False)
    return {study.study_name: len(storage.get_all_trials(study._study_id)) for study in storage.get_all_studies()}


def command(spec, out, url):
    return [
        sys.executable,
        "-m",
        "study.cli",
        "run",
        str(spec),
        "--out",
        str(out),
        "--executor",
        "inline",
        "--no-timing",
        "--storage",
        url,
    ]


def test_a_record_in_postgresql_is_that_in_sqlite(raw, tmp_path, url, capsys, monkeypatch):
    here, there = tmp_path / "sqlite", tmp_path / "postgres"
    same(run(raw(), there, executor="inline", storage=url).table(), run(raw(), here, executor="inline").table())
    assert trials(url) == {"small": 8, "small/baseline": 2}

    monkeypatch.setattr("study.training.packs.train_pack", lambda *arguments: pytest.fail("trained again"))
    assert len(run(raw(), there, executor="inline", storage=url).done()) == 10
    monkeypatch.setenv("DMD_STUDY_STORAGE", url)
    monkeypatch.setattr(sys, "argv", ["dmd-study", "status", str(there)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["small: 8 replicates: 8 finished", "  jumps: 40 accepted"]
    assert lines[2].startswith("Not known: plain training's learning rate was not varied")
    for path in there.rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()


def test_the_measured_time_of_a_choice_is_kept_there(raw, tmp_path, url):
    record = run(raw(), tmp_path / "out", executor="inline", storage=url)
    result = record.recommendation()
    measured = {"ratio": 1.5, "low": 1.25, "high": 2.0, "pairs": 5, "device": "1 CPU thread"}
    record.keep_timing({"cell": result.cell, "plain": result.recorded_plain, **measured})
    for reader in (record, open_study(tmp_path / "out", url)):
        assert vars(reader.recommendation().time) == measured


def test_another_folder_may_not_use_the_same_name(raw, tmp_path, url):
    run(raw({"axes.m": [4]}), tmp_path / "one", executor="inline", storage=url)
    with pytest.raises(UserError, match="whose rows are in another folder") as caught:
        run(raw(), tmp_path / "two", executor="inline", storage=url)
    assert PASSWORD not in str(caught.value)
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda url: url.replace(PASSWORD, "sesame"), "password authentication failed"),
        (lambda url: f"{url}_nowhere", "does not exist"),
        (lambda url: url.replace("@127.0.0.1:", "@127.0.0.1:1"), "could not be opened"),
    ],
    ids=["a wrong password", "no such database", "no such server"],
)
def test_a_server_that_refuses_is_named_with_the_reason(raw, tmp_path, url, change, expected):
    start_s = time.monotonic()
    with pytest.raises(UserError, match=expected) as caught:
        run(raw(), tmp_path / "out", executor="inline", storage=change(url))
    assert time.monotonic() - start_s < _database.CONNECT_S + 15
    assert "study:***@127.0.0.1" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_reading_makes_no_tables(raw, tmp_path, url, server):
    run(raw({"axes.m": [4]}), tmp_path / "out", executor="inline", storage=url)
    other = server.database("untouched")
    with pytest.raises(UserError, match="holds no study named 'small'"):
        open_study(tmp_path / "out", other)
    engine = sqlalchemy.create_engine(other)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


def test_two_drivers_on_two_studies_at_once(raw, tmp_path, url):
    studies = {}
    for name in ("one", "two"):
        spec = tmp_path / f"{name}.yaml"
        spec.write_text(yaml.safe_dump(raw({"name": name, "seeds": 6})))
        studies[name] = subprocess.Popen(command(spec, tmp_path / name, url), stderr=subprocess.PIPE, text=True)
    for name, process in studies.items():
        assert process.wait(240) == 0, process.communicate()[1]
        process.communicate()
        table = open_study(tmp_path / name, url).table()
        same(table, run(raw({"name": name, "seeds": 6}), tmp_path / f"{name} alone", executor="inline").table())
    assert trials(url) == {"one": 24, "one/baseline": 6, "two": 24, "two/baseline": 6}


def test_a_server_that_is_restarted_in_mid_sweep_is_waited_for(raw, tmp_path, url, server):
    spec, out = tmp_path / "spec.yaml", tmp_path / "out"
    spec.write_text(yaml.safe_dump(raw({"seeds": 10, "training.epochs": 500})))
    process = subprocess.Popen(command(spec, out, url), stderr=subprocess.PIPE, text=True)
    try:
        for restart in range(2):
            wait_for(out, 6 * (restart + 1), process)
            server.stop()
            time.sleep(3)
            assert process.poll() is None, process.communicate()[1]
            server.start()
        _, said = process.communicate(timeout=240)
    finally:
        process.kill()
        process.wait()
        server.stop()
        server.start()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert trials(url) == {"small": 40, "small/baseline": 10}
    assert set(open_study(out, url).table()["status"]) == {"finished"}


def wait_for(out: Path, packs: int, process) -> None:
    deadline_s = time.monotonic() + 120
    while len(list((out / "packs").glob("*.parquet"))) < packs:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s, "the sweep did not get going"
        time.sleep(0.02)


def test_a_server_that_stays_away_ends_the_sweep_with_the_reason_and_it_resumes(
    raw, tmp_path, url, server, monkeypatch, capsys
):
    import study.training.packs

    trained, real = [], study.training.packs.train_pack

    def stopping(pack, *others):
        trained.append(pack)
        if len(trained) == 4:
            server.stop()
        return real(pack, *others)

    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(raw({"resources": {"pack": 1}})))
    arguments = [str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out"), "--executor", "inline", "--storage", url]
    monkeypatch.setattr(study.training.packs, "train_pack", stopping)
    monkeypatch.setattr(_storage, "PATIENCE_S", 3.0)
    monkeypatch.setattr(sys, "argv", ["dmd-study", "run", *arguments])
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        server.start()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "study:***@127.0.0.1" in said
    assert "cannot be written to: " in said
    assert "What has ended is recorded in" in said
    assert PASSWORD not in said
    assert "Traceback" not in said

    run(raw({"resources": {"pack": 1}}), tmp_path / "out", executor="inline", storage=url)
    assert len(trained) == 10  # the fourth's rows were in place
    assert trials(url) == {"small": 8, "small/baseline": 2}


def test_an_answer_that_is_lost_does_not_record_a_replicate_twice(raw, tmp_path, url, server, monkeypatch):
    """The server takes the trials in and dies before it says so."""
    real, lost = add_together, []

    def unanswered(storage, trials):
        real(storage, trials)
        if len(lost) < 3:
            lost.append(trials)
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr("study.record._ledger.add_together", unanswered)
    run(raw(), tmp_path / "out", executor="inline", storage=url)
    assert len(lost) == 3
    assert trials(url) == {"small": 8, "small/baseline": 2}


def test_a_database_that_is_lost_is_filled_again_from_the_packs(raw, tmp_path, url, server, monkeypatch):
    table = run(raw(), tmp_path / "out", executor="inline", storage=url).table()
    other = server.database("filled_again")
    monkeypatch.setattr("study.training.packs.train_pack", lambda *arguments: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(run(raw(), tmp_path / "out", executor="inline", storage=other).table(), table)


def test_the_record_can_be_read_while_it_is_written(raw, tmp_path, url):
    """From another thread, as the dashboard and `status` do: what is there at the time, and no more."""
    found, refusals, over = [], [], threading.Event()

    def read():
        while not over.is_set():
            try:
                found.append(len(open_study(tmp_path / "out", url).table()))
            except UserError as error:
                refusals.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        run(raw({"seeds": 4}), tmp_path / "out", executor="inline", storage=url)
    finally:
        over.set()
        reader.join()
    assert [said for said in refusals if "holds no study" not in said] == []
    assert found == sorted(found)
    assert len(set(found)) > 2
