"""A sweep's time limit: what may still be begun, and when everything has to stop."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class OutOfTime(KeyboardInterrupt):
    """The time limit has come. It stops a sweep as Ctrl-C does: Ray Tune lets that through, and nothing else."""


class Deadline:
    """When a sweep that is begun now must have ended.

    Args:
        limit_s: seconds from now; None: no limit.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._end_s = math.inf if limit_s is None else time.monotonic() + limit_s
        self._longest_s = 0.0

    def took(self, seconds: float) -> None:
        """Remember how long a pack has taken."""
        self._longest_s = max(self._longest_s, seconds)

    @property
    def allows_another(self) -> bool:
        """Whether a pack that is begun now ends in time, if it takes no longer than the longest so far."""
        return self._end_s - time.monotonic() > self._longest_s

    def check(self) -> None:
        """Raise `OutOfTime` once the limit has come."""
        if time.monotonic() >= self._end_s:
            raise OutOfTime

    @contextlib.contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise `OutOfTime` when the limit comes, whatever is being done; only in a main thread, as signals are."""
        if self._end_s == math.inf or threading.current_thread() is not threading.main_thread():
            yield
            return
        self.check()
        rung = []

        def ring(number: int, frame: FrameType | None) -> NoReturn:
            rung.append(number)
            raise OutOfTime

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(self._end_s - time.monotonic(), 1e-3))
        try:
            yield
        except KeyboardInterrupt as interrupt:
            # inside Ray's compiled code, whatever a handler raises becomes a plain KeyboardInterrupt
            if rung:
                raise OutOfTime from interrupt
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
