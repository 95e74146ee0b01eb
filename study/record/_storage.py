"""The Optuna storage of a record: opening it, and turning its errors into plain messages."""

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.orm  # now: two threads that open storages cannot import it at the same time
from sqlalchemy.engine import URL, make_url

from study.errors import UserError
from study.record._database import check_sqlite, engine_options, masked

_RACES = 3
"""Number of times to try again when another run makes the same tables."""
PATIENCE_S = 120.0
"""Seconds to go on trying to write to a server that does not answer."""


def open_storage(url: str, *, make: bool) -> optuna.storages.RDBStorage | None:
    """Open a storage; return None if there is none and ``make`` is False.

    Args:
        url: URL of the storage, in SQLAlchemy's form.
        make: make the database's file and tables if there are none.

    Raises:
        UserError: the storage cannot be opened.
        DamagedDatabase: the storage is a damaged SQLite file.
    """
    try:
        parsed = make_url(url)
        options = engine_options(parsed)
        if parsed.get_backend_name() == "sqlite" and not check_sqlite(parsed) and not make:
            return None
        if not make and not _has_tables(parsed, options):
            return None
        storage = _open(url, options, make=make)
    except UserError:
        raise
    except Exception as error:  # a driver may raise any exception
        raise UserError(f"the storage could not be opened: {_why(error, url)}") from None
    weakref.finalize(storage, storage.engine.dispose)  # closes the connections to a server
    return storage


def _open(url: str, options: dict[str, Any], *, make: bool) -> optuna.storages.RDBStorage:
    for _ in range(_RACES):
        # SQLAlchemy raises these errors when another run makes the same tables at the same time
        with contextlib.suppress(*((sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError) if make else ())):
            return _Storage(url, engine_kwargs=dict(options), skip_table_creation=not make)
        time.sleep(1.0)
    return _Storage(url, engine_kwargs=dict(options), skip_table_creation=not make)


class _Storage(optuna.storages.RDBStorage):
    """Optuna's storage that leaves no connection open when opening fails."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except Exception:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn errors of reading into a `UserError` that names the storage and the reason."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise UserError(f"{masked(url)} cannot be read: {_reason(error)}") from error


def persist(url: str, write: Callable[[], object], written: Callable[[], bool]) -> None:
    """Write to a storage; if its server does not answer, go on trying for `PATIENCE_S`.

    Args:
        url: URL of the storage, for messages.
        write: makes one transaction.
        written: returns True if an earlier try has been written after all: only the answer to its commit may be lost.

    Raises:
        OSError: the storage cannot be written to; the message names the storage and the reason.
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
    """Return True if a server does not answer, which may pass. Errors of a file do not pass."""
    cause = error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error.__cause__
    lost = isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
    return lost and make_url(url).get_backend_name() != "sqlite"


def _has_tables(url: URL, options: dict[str, Any]) -> bool:
    """Return True if Optuna has made all its tables: it writes the revision of their layout last."""
    engine = sqlalchemy.create_engine(url, **options)
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
        extra = "; install it with pip install 'dmd-study[postgres]'" if "psycopg" in str(driver) else ""
        return f"its driver is not installed: {driver}{extra}"
    if isinstance(error, sqlalchemy.exc.ArgumentError):
        return "it must be a URL such as sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    return f"{_reason(error)}; the URL is {masked(url)}"


def _reason(error: Exception) -> str:
    cause = error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error.__cause__ or error
    original = getattr(cause, "orig", None) or cause
    return masked(next(iter(str(original).strip().splitlines()), type(original).__name__))
