"""What every command shares: where it prints, options that several have, and mistakes told as the user's."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from study.errors import UserError

if TYPE_CHECKING:
    from study.record import Record

out_console, err_console = Console(), Console(stderr=True)

Folder = Annotated[Path, typer.Argument(help="A study's folder.", metavar="DIR")]
Storage = Annotated[
    str | None, typer.Option(help="URL of the Optuna storage; by default SQLite in the folder, or DMD_STUDY_STORAGE.")
]


def say(text: str) -> None:
    """Print to standard output, as it is."""
    out_console.print(text, soft_wrap=True, markup=False, highlight=False)


def opened(folder: Path, storage: str | None) -> "Record":
    """A study's record, for reading."""
    from study.record import open_study

    return open_study(folder, storage)


@contextlib.contextmanager
def as_user_errors() -> Iterator[None]:
    """Whatever the analysis refuses, the user can mend; so is a folder that cannot be written to."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
