"""Things that commands share: consoles, options that several have, and errors told as the user's mistakes."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from study.errors import UserError

if TYPE_CHECKING:
    from study.record import Line, Record

out_console, err_console = Console(), Console(stderr=True)

Folder = Annotated[Path, typer.Argument(help="A study's folder.", metavar="DIR")]
Storage = Annotated[
    str | None, typer.Option(help="URL of the Optuna storage; by default SQLite in the folder, or DMD_STUDY_STORAGE.")
]

At = Annotated[list[str] | None, typer.Option(help="AXIS=VALUE: look at this value of an axis only. May be repeated.")]


_transcripts: list[list["Line"]] = []
"""Lists that gather what is printed now."""


def say(text: str) -> None:
    """Print to standard output, as it is."""
    _print("out", text)


def note(text: str) -> None:
    """Print to standard error, as it is."""
    _print("err", text)


def say_again(lines: Iterable["Line"]) -> None:
    """Print what was printed before."""
    for stream, text in lines:
        _print(stream, text)


@contextlib.contextmanager
def transcript() -> Iterator[list["Line"]]:
    """Yield a list that gathers what `say` and `note` print within the block."""
    lines: list[Line] = []
    _transcripts.append(lines)
    try:
        yield lines
    finally:
        _transcripts.pop()


def _print(stream: Literal["out", "err"], text: str) -> None:
    console = out_console if stream == "out" else err_console
    console.print(text, soft_wrap=True, markup=False, highlight=False)
    for lines in _transcripts:
        lines.append((stream, text))


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
                note(f"Warning: {text}")
