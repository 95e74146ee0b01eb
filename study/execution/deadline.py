"""Time limit of a sweep: decide which packs may still be started, and stop everything in time."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class OutOfTime(KeyboardInterrupt):
    """Raised when the time limit has passed. A KeyboardInterrupt is the only exception that Ray Tune lets through."""


class Deadline:
    """Time at which a sweep that starts now must have ended.

    Args:
        limit_s: seconds from now; None for no limit.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._end_s = math.inf if limit_s is None else time.monotonic() + limit_s
        self._longest_s = 0.0

    def took(self, seconds: float) -> None:
        """Remember how long a pack took."""
        self._longest_s = max(self._longest_s, seconds)

    @property
    def allows_another(self) -> bool:
        """True if a pack that starts now would end in time, if it takes as long as the longest so far."""
        return self._end_s - time.monotonic() > self._longest_s

    def check(self) -> None:
        """Raise `OutOfTime` if the limit has passed."""
        if time.monotonic() >= self._end_s:
            raise OutOfTime

    @contextlib.contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise `OutOfTime` when the limit passes, in the middle of any work. Do nothing outside the main thread."""
        if self._end_s == math.inf or threading.current_thread() is not threading.main_thread():
            yield
            return
        self.check()
        received = []

        def stop(number: int, frame: FrameType | None) -> NoReturn:
            received.append(number)
            raise OutOfTime

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(self._end_s - time.monotonic(), 1e-3))
        try:
            yield
        except KeyboardInterrupt as interrupt:
            # Ray's compiled code turns anything that a handler raises into a plain KeyboardInterrupt
            if received:
                raise OutOfTime from interrupt
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
