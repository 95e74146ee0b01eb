"""Where packs are trained: in this process, or wherever Ray Tune puts them. Both do the same with the same packs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from study.execution.terminal_progress import SweepProgress
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Pack, Task

Finish = Callable[[Pack, list[ReplicateOutcome], Mapping[str, Any]], None]
"""Takes in what training a pack gave, and where it was trained."""

Execute = Callable[[Iterable[Pack], Mapping[str, Task], Finish, SweepProgress], None]
"""Trains packs. It returns when all have ended, or when no more can be begun before the deadline.

Packs that are no list are asked for one by one, when there is room for another: what they are may depend on what has
ended by then.
"""
