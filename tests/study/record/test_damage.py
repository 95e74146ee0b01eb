"""Damaged files: found, named, kept aside, and no more is lost than they held."""

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import open_study, run
from study.errors import UserError
from study.replicates.metric_catalogue import TIMINGS


@pytest.fixture
def raw(raw):
    """The small study in packs of three: two baselines, eight cells."""
    return lambda changes=None: raw({"resources": {"pack": 3}, **(changes or {})})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "out"


@pytest.fixture
def folder(raw, whole, tmp_path):
    """A folder with the whole study, to be damaged."""
    if not whole.exists():
        run(raw(), whole, executor="inline")
    return shutil.copytree(whole, tmp_path / "out")


@pytest.fixture
def trained(monkeypatch):
    """The replicates that are trained from here on."""
    import study.training.packs

    seen, real = [], study.training.packs.train_pack

    def train(pack, *others):
        seen.extend(pack.replicates)
        return real(pack, *others)

    monkeypatch.setattr(study.training.packs, "train_pack", train)
    return seen


def same(one, two):
    drop = [*TIMINGS, "pack"]
    pd.testing.assert_frame_equal(one.drop(columns=drop), two.drop(columns=drop), check_exact=True)


def packs(folder: Path) -> list[Path]:
    return sorted((folder / "packs").glob("*.parquet"))


def flip(path: Path, *places: int) -> None:
    data = bytearray(path.read_bytes())
    for at in places:
        data[at] ^= 0x10
    path.write_bytes(data)


# packs

DAMAGES = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "bits flipped among the numbers": lambda path: flip(path, *range(100, path.stat().st_size // 2, 97)),
    "a bit flipped at the end": lambda path: flip(path, path.stat().st_size - 5),
    "another kind of file": lambda path: path.write_text("not a pack at all, but some text"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_pack_is_named_kept_aside_and_its_replicates_alone_are_trained(raw, folder, trained, damage):
    table = open_study(folder).table()
    path = open_study(folder).pack_path(table["pack"][0])
    damage(path)
    bytes_then = path.read_bytes()
    assert [str(path) in why for why in open_study(folder).damaged().values()] == [True]
    with pytest.warns(UserWarning, match="left out, since they cannot be read: ") as caught:
        left = open_study(folder).table()
    assert str(path) in str(caught[0].message)
    assert set(left["pack"]) == set(table["pack"]) - {path.stem}

    with pytest.warns(
        UserWarning, match=rf"again, since they cannot be read: {path} \(.*; damaged packs are kept as {path}\.damaged"
    ):
        run(raw(), folder, executor="inline")
    assert Path(f"{path}.damaged").read_bytes() == bytes_then
    assert len(trained) == 3
    same(open_study(folder).table(), table)
    pd.testing.assert_frame_equal(
        left, open_study(folder).table()[lambda t: t["pack"] != path.stem].reset_index(drop=True)
    )
    trained.clear()
    run(raw(), folder, executor="inline")
    assert trained == []


def test_every_byte_of_a_pack_is_guarded(folder):
    """Whatever bit flips, the pack is refused or reads the same: never other numbers."""
    path = packs(folder)[0]
    data, draw = path.read_bytes(), np.random.default_rng(0)
    from study.record._rows import Unreadable, read_pack

    expected, refused = read_pack(path), 0
    for at in draw.choice(len(data), 300, replace=False):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << draw.integers(8)
        path.write_bytes(spoilt)
        try:
            found = read_pack(path)
        except Unreadable:
            refused += 1
        else:
            assert repr(found) == repr(expected)
    assert refused > 100  # the others hit what nobody reads, such as statistics of pages


def test_a_list_that_is_not_there_is_no_empty_one():
    import pyarrow as pa

    from study.record._rows import _digest

    lists = [[[1.0, 2.0], [], [3.0]], [[1.0, 2.0], None, [3.0]], [[1.0], [2.0], [3.0]], [[1.0, 2.0, 3.0], [], []]]
    tables = [pa.table({"curve_train": pa.array(rows, pa.list_(pa.float64()))}) for rows in lists]
    assert len({_digest(table, {}) for table in tables}) == len(lists)
    together = pa.concat_tables([table.slice(row, 1) for table in tables[:1] for row in range(3)])
    assert _digest(together, {}) == _digest(tables[0], {})  # however it is laid out in memory


def test_a_pack_that_is_gone_is_named_and_trained_again(raw, folder, trained):
    table = open_study(folder).table()
    path = packs(folder)[0]
    path.unlink()
    with pytest.warns(UserWarning, match=rf"trained again, since they cannot be read: {path} \(not there\)"):
        run(raw(), folder, executor="inline")
    assert len(trained) in (2, 3)
    same(open_study(folder).table(), table)


def test_damaged_twice_both_are_kept(raw, folder):
    path = packs(folder)[0]
    for content in (b"one", b"two"):
        path.write_bytes(content)
        with pytest.warns(UserWarning, match="trained again"):
            run(raw(), folder, executor="inline")
    assert Path(f"{path}.damaged").read_bytes() == b"one"
    assert Path(f"{path}.damaged-2").read_bytes() == b"two"


# the database


def spoil_pages(path: Path) -> None:
    """Overwrite the inner pages of the database, not its head: SQLite opens it and stumbles later."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(60_000))


BROKEN = {
    "no database at all": lambda path: path.write_bytes(b"not a database at all" * 100),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "inner pages": spoil_pages,
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_damaged_database_is_named_and_made_anew_from_the_packs(raw, folder, trained, damage):
    before = open_study(folder)
    table, done = before.table(), before.done()
    values = sorted(trial.value for trial in before.study.get_trials())
    database = folder / "study.db"
    damage(database)
    bytes_then = database.read_bytes()
    with pytest.raises(UserError, match=r"study\.db is damaged: .*running that study makes it anew"):
        open_study(folder)
    assert database.read_bytes() == bytes_then

    with pytest.warns(UserWarning, match=r"study\.db was damaged: it is made anew from the packs beside it, and kept"):
        run(raw(), folder, executor="inline")
    assert trained == []
    assert (folder / "study.db.damaged").read_bytes() == bytes_then
    after = open_study(folder)
    assert after.done() == done
    pd.testing.assert_frame_equal(after.table(), table)
    assert sorted(trial.value for trial in after.study.get_trials()) == values


def test_an_emptied_database_is_made_anew_too(raw, folder, trained):
    table = open_study(folder).table()
    (folder / "study.db").write_bytes(b"")
    with pytest.raises(UserError, match="holds no study"):
        open_study(folder)
    with pytest.warns(UserWarning, match="was damaged"):
        run(raw({"seeds": 3}), folder, executor="inline")
    assert {replicate.seed for replicate in trained} == {2}
    same(open_study(folder).table()[lambda t: t["seed"] < 2].reset_index(drop=True), table)


def test_a_journal_of_the_damaged_database_is_not_played_into_the_new_one(raw, folder, trained):
    database, journal = folder / "study.db", folder / "study.db-journal"
    spoil_pages(database)
    journal.write_bytes(b"not a journal")
    with pytest.warns(UserWarning, match="was damaged"):
        run(raw(), folder, executor="inline")
    assert not journal.exists()
    assert trained == []


def test_of_a_replicate_in_two_packs_the_later_one_counts(raw, folder, trained):
    """As after --retry-failed, or a damaged pack whose replicates went into packs of another size."""
    from study.record import create
    from study.specification import load_spec

    spec = load_spec(raw())
    record = open_study(folder)
    first = record.table()["pack"][0]
    record.pack_path(first).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="trained again"):
        run(raw({"resources": {"pack": 2}}), folder, executor="inline")
    done = open_study(folder).done()
    assert first not in {pack for pack, _ in done.values()}
    (folder / "study.db").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="was damaged"):
        create(folder, spec, None, None)
    assert open_study(folder).done() == done


def test_a_damaged_database_beside_packs_of_another_study_is_refused(raw, folder, contents):
    (folder / "study.db").write_bytes(b"damaged")
    before = contents(folder)
    with pytest.raises(UserError, match=r"packs of another study or spec \('small'\)"):
        run(raw({"training.epochs": 25}), folder, executor="inline")
    assert contents(folder) == before


def test_killed_while_the_database_is_made_anew_nothing_is_lost(raw, folder, trained, monkeypatch):
    from study.record import Record

    done = open_study(folder).done()
    (folder / "study.db").write_bytes(b"damaged")
    real, calls = Record.add_trials, []

    class Killed(BaseException):
        pass

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "add_trials", killed)
        patch.setattr("study.record._mend.TOGETHER", 1)
        with pytest.raises(Killed):
            run(raw(), folder, executor="inline")
    assert len(open_study(folder).done()) == 3
    run(raw(), folder, executor="inline")
    assert trained == []
    assert open_study(folder).done() == done


# killed at the very start


@pytest.mark.parametrize("step", range(12))
def test_killed_while_a_record_is_begun_it_can_be_begun_again(raw, tmp_path, monkeypatch, step):
    """Whichever write to the storage is the last, the next run goes on, and reading is told that there is none yet."""
    import optuna

    calls = []

    class Killed(BaseException):
        pass

    def counted(real):
        def call(self, *arguments, **options):
            calls.append(1)
            if len(calls) > step:
                raise Killed
            return real(self, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("create_new_study", "set_study_user_attr", "set_study_system_attr"):
            patch.setattr(optuna.storages.RDBStorage, name, counted(getattr(optuna.storages.RDBStorage, name)))
        with pytest.raises(Killed):
            run(raw(), tmp_path, executor="inline")
    try:
        begun = open_study(tmp_path)
    except UserError as error:
        said = str(error)
    else:
        said = "holds no study" if begun.done() == {} else "replicates that were not trained"
    assert "holds no study" in said
    assert len(run(raw(), tmp_path, executor="inline").done()) == 10


def test_a_database_that_is_locked_is_not_called_damaged(folder, monkeypatch):
    from study.record import _database

    monkeypatch.setattr(_database, "LOCKED_S", 0.1)
    other = sqlite3.connect(folder / "study.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="database is locked") as caught:
        open_study(folder)
    other.close()
    assert "damaged" not in str(caught.value)


# storages that are not there


def test_reading_makes_no_database(folder, tmp_path):
    for storage in (f"sqlite:///{tmp_path}/typo.db", f"sqlite:///{tmp_path}/no/such/folder.db"):
        with pytest.raises(UserError, match=r"holds no study named 'small'|there is no folder"):
            open_study(folder, storage)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["out"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_record_that_would_end_with_the_process_is_refused(raw, tmp_path, url):
    with pytest.raises(UserError, match="must be a file or a server, got a database in memory"):
        run(raw(), tmp_path / "out", executor="inline", storage=url)
    assert not (tmp_path / "out").exists()
