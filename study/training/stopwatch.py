"""A stopwatch of the parts of a training that does not wait for a device after every step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from study.replicates.outcome import PARTS


class Stopwatch:
    """Stopwatch of a device's work. On CUDA it marks the queue with events, and reads them when asked.

    A part that begins within another one interrupts it: no second counts twice.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._running: str | None = None
        self._since: Any = None

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time spent within towards a part."""
        interrupted = self._running
        self._switch(part)
        try:
            yield
        finally:
            self._switch(interrupted)

    def _switch(self, part: str | None) -> None:
        """End the part that runs, and begin another."""
        now: Any
        if self._device.type == "cuda":
            now = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            now.record()
            if self._running is not None:
                self._events.append((self._running, self._since, now))
        else:
            now = time.perf_counter()
            if self._running is not None:
                self._seconds[self._running] += now - self._since
        self._running, self._since = part, now

    def move(self, seconds: float, part: str, to: str) -> None:
        """Count seconds of a part towards another.

        Args:
            seconds: Seconds that were counted towards ``part``.
            part: Part that loses them.
            to: Part that gets them.
        """
        self._seconds[part] -= seconds
        self._seconds[to] += seconds

    def take(self) -> dict[str, float]:
        """Return the seconds of each part since the last call; on CUDA this waits for the device."""
        if self._events:
            torch.cuda.synchronize(self._device)
            for part, start, end in self._events:
                self._seconds[part] += start.elapsed_time(end) / 1e3
            self._events.clear()
        taken, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        return taken
