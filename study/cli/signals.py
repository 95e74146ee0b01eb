"""Being told to stop: Ctrl-C, and SIGTERM as schedulers send it, end every command in the same way."""

import functools
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, ParamSpec, TypeVar

import typer

from study.cli.console import err_console

_received: list[int] = []
"""Signals that asked us to stop. SIGTERM (schedulers end jobs by it) is raised as KeyboardInterrupt too, since what we
call (Ray) lets that through and nothing else."""
P = ParamSpec("P")
R = TypeVar("R")


def on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    """Handle SIGTERM as Python handles Ctrl-C."""
    _received.append(number)
    raise KeyboardInterrupt


def stop(said: str = "Stopped.") -> NoReturn:
    """End the command that a signal has interrupted: status 130 after Ctrl-C, 143 after SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut short what is said here
    err_console.print(said, soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(128 + (_received or [signal.SIGINT])[0])


def stoppable(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command end as `stop` does, wherever a signal finds it."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            stop()

    return wrapped
