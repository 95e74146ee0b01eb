"""The database of a record: its URL, how it is connected to, and whether a SQLite file is whole."""

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import URL

from study.errors import UserError

DATABASE = "study.db"
CONNECT_S = 10
"""Seconds to wait for a connection to a server."""
LOCKED_S = 60
"""Seconds to wait for another process that holds the SQLite database."""


class DamagedDatabase(UserError):
    """A SQLite database that is damaged."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path} is damaged: {reason}. If it lies in a study's folder, running that study makes it anew from the "
            f"packs beside it, and keeps the damaged file"
        )


def masked(text: str) -> str:
    """Return a storage URL, or a text that may hold one, without its passwords."""
    text = re.sub(r"(://[^:/@\s]*:)\S*@", r"\1***@", text)
    return re.sub(r"(?i)([?&](?:password|sslpassword|passfile)=)[^&\s]*", r"\1***", text)


def chosen(storage: str | None) -> str | None:
    """Return the storage given by option or environment; None for the one in the study's folder."""
    return storage or os.environ.get("DMD_STUDY_STORAGE") or None


def storage_url(folder: Path, storage: str | None) -> str:
    """Return the URL of a study's storage: the one given by option or environment, or SQLite in its folder."""
    if given := chosen(storage):
        return given
    url = URL.create("sqlite", database=str((folder / DATABASE).resolve()))  # quotes special characters of the path
    return url.render_as_string(hide_password=False)


def engine_options(url: URL) -> dict[str, Any]:
    """Return options of SQLAlchemy's engine: lost connections are made anew, and waiting for one has a limit."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": LOCKED_S}
    elif url.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": CONNECT_S}
    return options


def check_sqlite(url: URL) -> bool:
    """Return True if the file holds a database. Raises UserError if it is damaged, or the URL names no file."""
    if url.database in (None, "", ":memory:"):
        raise UserError("the storage must be a file or a server, got a database in memory, which ends with the process")
    if str(url.database).startswith("file:"):
        raise UserError(f"the storage must be given as sqlite:///PATH, got {masked(str(url))}")
    path = Path(str(url.database))
    if not path.parent.is_dir():
        raise UserError(f"the storage could not be opened: there is no folder {path.parent}")
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=LOCKED_S)
        ) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise DamagedDatabase(path, str(error)) from None
    if verdict != "ok":
        raise DamagedDatabase(path, " ".join(str(verdict).split()))
    return True
