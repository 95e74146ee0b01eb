"""Only one run at a time writes to a study's folder, and a second one is told which does.

What refuses the second is a lock of the operating system (flock), which ends with its process, however that ends. Some
shared file systems keep such locks within one machine. So the holder also leaves a note (process, host, since when) and
renews it as long as it lives: a note of another machine that is still being renewed holds as well as a lock.
"""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from study.errors import UserError
from study.record._files import check_writable

LOCK_FILE = ".lock"
NOTE_FILE = ".held-by.json"
RENEW_S = 10.0
STALE_S = 60.0
"""A note of another machine that is this old is one of a run that was killed."""


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for writing.

    Raises:
        UserError: another run holds it, which is named; or the folder cannot be written to.
    """
    check_writable(folder)
    note, lock = folder / NOTE_FILE, FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder} is being written to by {_holder(note)}; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} cannot be locked: {error}; choose another --out") from error
    try:
        _refuse_another_machine(folder, note)
        with _renewed(note):
            yield
    finally:
        lock.release()


def _refuse_another_machine(folder: Path, note: Path) -> None:
    """See that no run on another machine goes on behind a lock that does not reach across."""
    said = _read(note)
    if not said or said.get("host") == socket.gethostname():
        return  # on this machine the lock would not have been ours
    try:
        age_s = _age_s(note)
    except FileNotFoundError:
        return
    if age_s < STALE_S:
        raise UserError(
            f"{folder} is being written to by {_holder(note)}, seen {max(age_s, 0):.0f} s ago; wait for it, or choose "
            f"another --out. If that run was killed, its hold ends {STALE_S:.0f} s after it was seen last"
        )


@contextlib.contextmanager
def _renewed(note: Path) -> Iterator[None]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}), encoding="utf-8")
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEW_S):
            with contextlib.suppress(OSError):
                os.utime(note)

    thread = threading.Thread(target=renew, name="dmd-study-hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            note.unlink()


def _holder(note: Path) -> str:
    said = _read(note)
    if not said:
        return "another run"
    return f"process {said.get('pid')} on {said.get('host')} since {said.get('since')}"


def _read(note: Path) -> dict[str, Any]:
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or being written just now
        return {}
    return said if isinstance(said, dict) else {}


def _age_s(note: Path) -> float:
    """Age by the clock that stamps files there, which on a shared file system need not be ours."""
    probe = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - note.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
