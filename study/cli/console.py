"""Things that commands share: consoles, options that several have, and errors told as the user's mistakes."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

At = Annotated[list[str] | None, typer.Option(help="AXIS=VALUE: look at this value of an axis only. May be repeated.")]


def say(text: str) -> None:
    """Print to standard output, as it is."""
    out_console.print(text, soft_wrap=True, markup=False, highlight=False)


def chosen_values(at: Iterable[str] | None) -> dict[str, Any]:
    """Return ``AXIS=VALUE`` texts as a mapping; the values are YAML."""
    from study.specification import parse_yaml

    chosen: dict[str, Any] = {}
    for text in at or []:
        axis, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError("must be AXIS=VALUE, for example tolerance=1e-6")
            loaded = parse_yaml(value)
        except ValueError as error:
            raise UserError(f"--at {text}: {error}") from error
        with contextlib.suppress(ValueError):
            # YAML 1.1 reads 1e-3 as a string
            loaded = float(loaded) if isinstance(loaded, str) else loaded
        chosen[axis] = tuple(loaded) if isinstance(loaded, list) else loaded
    return chosen


def opened(folder: Path, storage: str | None) -> "Record":
    """Open a study's record for reading."""
    from study.record import open_study

    return open_study(folder, storage)


@contextlib.contextmanager
def as_user_errors() -> Iterator[None]:
    """Turn what the analysis refuses, and a folder that cannot be written to, into errors of the user."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


@contextlib.contextmanager
def print_warnings() -> Iterator[None]:
    """Print the warnings of a block when it ends, each in a line of its own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for text in dict.fromkeys(str(warning.message) for warning in caught):
                err_console.print(f"Warning: {text}", soft_wrap=True, markup=False, highlight=False)
