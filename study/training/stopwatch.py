"""Measure the seconds spent on each part of a training, without waiting for the device after every step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PARTS = ("training", "jumps", "judging")
"""Parts that are measured."""


class Stopwatch:
    """Measures the work of a device. On CUDA it puts events into the queue, and reads them in `take`.

    Args:
        device: device that works.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add the time of the ``with`` block to a part."""
        if self._device.type == "cuda":
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            try:
                yield
            finally:
                end.record()
                self._events.append((part, start, end))
            return
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - start_s

    def take(self) -> dict[str, float]:
        """Return the seconds of each part since the last call; on CUDA this waits for the device."""
        if self._events:
            torch.cuda.synchronize(self._device)
            for part, start, end in self._events:
                self._seconds[part] += start.elapsed_time(end) / 1e3
            self._events.clear()
        taken, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        return taken
