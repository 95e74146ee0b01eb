"""The Optuna storage of a record: where it is, how it is opened, and what its errors mean."""

import contextlib
import os
import re
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy
import sqlalchemy.orm  # here, not by whichever thread opens a storage first: it cannot be imported by two at once
from sqlalchemy.engine import URL, make_url

from study.errors import UserError

DATABASE = "study.db"
CONNECT_S = 10
LOCKED_S = 60
"""How long to wait for another process that holds the SQLite database."""
_RACES = 3
PATIENCE_S = 120.0
"""How long to go on trying to add a trial to a server that does not answer."""


class DamagedDatabase(UserError):
    """A SQLite database that is not one any more."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path} is damaged: {reason}. Where it is a study's own, running that study makes it anew from the packs "
            f"beside it, and keeps the damaged file"
        )


def masked(text: str) -> str:
    """A storage URL, or any text that may hold one, without passwords."""
    text = re.sub(r"(://[^:/@\s]*:)\S*@", r"\1***@", text)
    return re.sub(r"(?i)([?&](?:password|sslpassword|passfile)=)[^&\s]*", r"\1***", text)


def chosen(storage: str | None) -> str | None:
    """The storage that was asked for, if not the one in the study's folder."""
    return storage or os.environ.get("DMD_STUDY_STORAGE") or None


def storage_url(folder: Path, storage: str | None) -> str:
    """URL of a study's storage: the one asked for, or SQLite in its folder."""
    if given := chosen(storage):
        return given
    own = URL.create("sqlite", database=str((folder / DATABASE).resolve()))  # which quotes what a path may hold
    return own.render_as_string(hide_password=False)


def open_storage(url: str, *, make: bool) -> optuna.storages.RDBStorage | None:
    """Open a storage.

    Args:
        url: as SQLAlchemy takes it.
        make: make the database's file and tables where there are none; else there is None to open, and nothing is made.

    Raises:
        UserError: it cannot be opened. DamagedDatabase: it is a SQLite file that is damaged.
    """
    try:
        where = make_url(url)
        options = engine_options(where)
        if where.get_backend_name() == "sqlite" and not _check_sqlite(where) and not make:
            return None
        if not make and not _has_tables(where, options):
            return None
        storage = _open(url, options, make=make)
    except UserError:
        raise
    except Exception as error:  # drivers raise what they like
        raise UserError(f"the storage could not be opened: {_why(error, url)}") from None
    weakref.finalize(storage, storage.engine.dispose)  # a server is not left with connections of records long forgotten
    return storage


def _open(url: str, options: dict[str, Any], *, make: bool) -> optuna.storages.RDBStorage:
    for _ in range(_RACES):
        # another run that makes the same tables at the same time is a mistake to SQLAlchemy
        with contextlib.suppress(*((sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError) if make else ())):
            return _Storage(url, engine_kwargs=dict(options), skip_table_creation=not make)
        time.sleep(1.0)
    return _Storage(url, engine_kwargs=dict(options), skip_table_creation=not make)


class _Storage(optuna.storages.RDBStorage):
    """Optuna's, which leaves no connection open where it could not be opened."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except Exception:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """A storage that cannot be read from is a `UserError` that says which and why."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise UserError(f"{masked(url)} cannot be read: {_reason(error)}") from error


def persist(url: str, write: Callable[[], object], written: Callable[[], bool]) -> None:
    """Write to a storage; where its server does not answer, go on trying for a while.

    Args:
        url: the storage's, for messages.
        write: one transaction.
        written: whether an earlier try got through after all: the answer to a commit may be what was lost.

    Raises:
        OSError: it cannot be written to; says which, and why.
    """
    end_s, pause_s, tried = time.monotonic() + PATIENCE_S, 0.5, False
    while True:
        try:
            if not (tried and written()):
                write()
            return
        except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
            if not _may_pass(url, error) or time.monotonic() + pause_s > end_s:
                raise OSError(f"{masked(url)} cannot be written to: {_reason(error)}") from error
            tried = True
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 10.0)


def _may_pass(url: str, error: Exception) -> bool:
    """Whether a server has gone away for a while. A file either can be written to or cannot."""
    cause = error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error.__cause__
    lost = isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
    return lost and make_url(url).get_backend_name() != "sqlite"


def engine_options(where: URL) -> dict[str, Any]:
    """Options of SQLAlchemy's engine: a connection that was lost is made anew, and none is waited for without end."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    if where.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": LOCKED_S}
    elif where.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": CONNECT_S}
    return options


def _check_sqlite(where: URL) -> bool:
    """Whether there is a database in the file, which is seen to be whole."""
    if where.database in (None, "", ":memory:"):
        raise UserError("the storage must be a file or a server, got a database in memory, which ends with the process")
    if str(where.database).startswith("file:"):
        raise UserError(f"the storage must be given as sqlite:///PATH, got {masked(str(where))}")
    path = Path(str(where.database))
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


def _has_tables(where: URL, options: dict[str, Any]) -> bool:
    """Whether Optuna has made all its tables: the revision of their layout is what it writes last."""
    engine = sqlalchemy.create_engine(where, **options)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return False
            return connection.execute(sqlalchemy.text("SELECT 1 FROM alembic_version")).first() is not None
    finally:
        engine.dispose()


def _why(error: Exception, url: str) -> str:
    if isinstance(error, ImportError):
        driver = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        extra = "; pip install 'dmd-study[postgres]' brings it" if "psycopg" in str(driver) else ""
        return f"its driver is not installed: {driver}{extra}"
    if isinstance(error, sqlalchemy.exc.ArgumentError):
        return "it must be a URL such as sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    return f"{_reason(error)}; asked for {masked(url)}"


def _reason(error: Exception) -> str:
    cause = error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error.__cause__ or error
    original = getattr(cause, "orig", None) or cause
    return masked(next(iter(str(original).strip().splitlines()), type(original).__name__))
