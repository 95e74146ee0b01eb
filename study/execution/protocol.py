"""Types of the functions that train packs and record them, in this process or on Ray: both train the same way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from study.execution.terminal_progress import SweepProgress
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Pack, Task

Finish = Callable[[Pack, list[ReplicateOutcome], Mapping[str, Any]], None]
"""Record the outcomes of a pack, with the provenance of the process that trained it."""


@dataclass(frozen=True)
class Execute:
    """Processes that train the packs of a study."""

    train: Callable[[Iterable[Pack], Mapping[str, Task], Finish, SweepProgress], None]
    """Train packs; return when all have ended, or when no more can start before the deadline.

    Packs that are not a list are requested one by one, when there is room for another: the next pack may depend on
    those that have ended by then.
    """
    call: Callable[..., Any]
    """Call a function with these arguments on a machine that trains packs, and return its result."""


def call_here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with these arguments in this process, and return its result."""
    return function(*arguments)
