"""Who writes to a folder: one run at a time, and the second is told which."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from study import run
from study.errors import UserError
from study.record import _lock, lock_folder

HOLD = "import sys, time; from pathlib import Path; from study.record import lock_folder\n"
HOLD += "with lock_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def note(folder):
    return json.loads((folder / ".held-by.json").read_text())


def test_a_second_run_is_told_who_holds_the_folder(raw, tmp_path, holder):
    since = note(tmp_path)["since"]
    expected = f"being written to by process {holder.pid} on {os.uname().nodename} since {since}; wait for it, or"
    with pytest.raises(UserError) as caught:
        run(raw(), tmp_path, executor="inline")
    assert expected in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", ".held-by.json"}
    assert note(tmp_path)["pid"] == holder.pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_hold_of_a_killed_run_ends_with_it(raw, tmp_path, holder, number):
    holder.send_signal(number)
    holder.wait()
    assert note(tmp_path)["pid"] == holder.pid  # it could not take its note along
    assert len(run(raw(), tmp_path, executor="inline").done()) == 10
    assert not (tmp_path / ".held-by.json").exists()


def test_a_hold_without_a_note_still_holds(tmp_path):
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(UserError, match="being written to by another run"),
        lock_folder(tmp_path),
    ):
        raise AssertionError("two at once")


@pytest.fixture
def elsewhere(tmp_path):
    """The note of a run on another machine, whose lock does not reach here."""

    def write(age_s):
        path = tmp_path / ".held-by.json"
        path.write_text(json.dumps({"pid": 77, "host": "far-away", "since": "2026-01-02T03:04:05+00:00"}))
        os.utime(path, times=(time.time() - age_s,) * 2)

    return write


def test_a_run_on_another_machine_that_goes_on_is_believed(tmp_path, elsewhere):
    elsewhere(age_s=20)
    with (
        pytest.raises(UserError, match=r"by process 77 on far-away since 2026-01-02T03:04:05.*, seen (19|20|21) s ago"),
        lock_folder(tmp_path),
    ):
        raise AssertionError("two at once")
    assert note(tmp_path)["host"] == "far-away"
    with FileLock(tmp_path / ".lock", timeout=0):  # what refused has not kept the lock
        pass


def test_a_run_on_another_machine_that_was_killed_is_not(tmp_path, elsewhere):
    elsewhere(age_s=_lock.STALE_S + 1)
    with lock_folder(tmp_path):
        assert note(tmp_path)["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00"])
def test_a_note_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / ".held-by.json").write_text(text)
    with lock_folder(tmp_path):
        pass


def test_the_holder_renews_its_note(tmp_path, monkeypatch):
    monkeypatch.setattr(_lock, "RENEW_S", 0.02)
    with lock_folder(tmp_path):
        path = tmp_path / ".held-by.json"
        os.utime(path, times=(0, 0))
        deadline_s = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline_s, "the note was not renewed"
            time.sleep(0.01)
