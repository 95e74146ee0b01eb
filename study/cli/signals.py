"""Signals that stop a command: Ctrl-C, and SIGTERM as schedulers send it, end it in the same way."""

import contextlib
import functools
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn, ParamSpec, TypeVar

import typer

from study.cli.console import note
from study.errors import UserError

_received: list[int] = []
"""Signals that asked to stop. SIGTERM is raised as KeyboardInterrupt too, since Ray lets nothing else through."""
P = ParamSpec("P")
R = TypeVar("R")


def on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    """Handle SIGTERM as Python handles Ctrl-C."""
    _received.append(number)
    raise KeyboardInterrupt


def stop(message: str = "Stopped.") -> NoReturn:
    """End the command that a signal has interrupted: status 130 after Ctrl-C, 143 after SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second signal must not cut this message short
    note(message)
    raise typer.Exit(128 + (_received or [signal.SIGINT])[0])


def this_command() -> str:
    """Return the command that runs, to be typed again; without passwords."""
    from study.record import masked

    return masked(shlex.join(["dmd-study", *sys.argv[1:]]))


@contextlib.contextmanager
def recording(folder: Path, resume: str) -> Iterator[None]:
    """Say where the record is, and how to go on (``resume``), if training ends before its time."""
    try:
        yield
    except KeyboardInterrupt:
        stop(f"Stopped. What has ended is recorded in {folder}; {resume}")
    except OSError as error:
        raise UserError(f"{error}. What has ended is recorded in {folder}. Fix the cause, then {resume}") from error


def stoppable(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command end as `stop` does, wherever a signal finds it."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            stop()

    return wrapped
