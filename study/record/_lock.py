"""The lock of a study's folder: one run at a time writes to it, and a second run is told which one does.

The lock is that of the operating system (flock), which ends with its process, however the process ends. Some shared
file systems keep such locks within one machine. So the holder also writes a note (process, host, since when) and renews
it as long as it runs: a note of another machine that is still renewed counts as a lock.
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
"""Age from which another machine's note no longer counts: its run has been killed."""


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for writing.

    Raises:
        UserError: another run, which the message names, holds the folder; or the folder cannot be written to.
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
        _refuse_if_held_elsewhere(folder, note)
        with _keep_note(note):
            yield
    finally:
        lock.release()


def _refuse_if_held_elsewhere(folder: Path, note: Path) -> None:
    """Raise UserError if a run on another machine, which the lock may not reach, holds the folder."""
    holder = _read(note)
    if not holder or holder.get("host") == socket.gethostname():
        return  # a run on this machine would have kept the lock from us
    try:
        age_s = _age_s(note)
    except FileNotFoundError:
        return
    if age_s < STALE_S:
        raise UserError(
            f"{folder} is being written to by {_holder(note)}, seen {max(age_s, 0):.0f} s ago; wait for it, or choose "
            f"another --out. If that run was killed, the folder is free {STALE_S:.0f} s after it was last seen"
        )


@contextlib.contextmanager
def _keep_note(note: Path) -> Iterator[None]:
    """Write the note, renew it in a thread, and remove it at the end."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}), encoding="utf-8")
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_S):
            with contextlib.suppress(OSError):
                os.utime(note)

    thread = threading.Thread(target=renew, name="dmd-study-hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            note.unlink()


def _holder(note: Path) -> str:
    holder = _read(note)
    if not holder:
        return "another run"
    return f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"


def _read(note: Path) -> dict[str, Any]:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it is being written
        return {}
    return content if isinstance(content, dict) else {}


def _age_s(note: Path) -> float:
    """Return a note's age by the clock of its file system, which on a shared one may differ from ours."""
    probe = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - note.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
