"""A rule that takes its time and keeps a diary: what a sweep of long trainings looks like to whoever kills parts of it.

It is copied beside the specs of the fault tests, as a user's own rule would be.
"""

import os
import signal
import time
from dataclasses import dataclass

import torch

from accel import Combination

_jumps: dict[int, int] = {}
"""Jumps of the replicate of each number in this process."""


@dataclass(frozen=True)
class Slow:
    """Sleep at every jump, and move by a little that depends on the number.

    diary: a file to which each process appends lines: time, begin or end, number, process id.
    deadly: the number whose training kills its process.
    """

    diary: str
    rounds: int
    nap_s: float = 0.0
    number: int = 0
    deadly: int = -1

    def __post_init__(self):
        self._write("begin")
        _jumps[self.number] = 0
        if self.number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, window, s):
        time.sleep(self.nap_s / self.rounds)
        _jumps[self.number] += 1
        if _jumps[self.number] == self.rounds:
            self._write("end")
        groups, _, m = window.shape
        coefficients = torch.zeros(groups, m, dtype=torch.float64)
        coefficients[:, -1] = 1 + 1e-3 * self.number
        coefficients[:, -2] = -1e-3 * self.number
        ones = torch.ones(groups, dtype=torch.float64)
        return Combination(coefficients, rank=ones.long(), spectral_radius=ones)

    def _write(self, event):
        with open(self.diary, "a") as diary:
            diary.write(f"{time.time()} {event} {self.number} {os.getpid()}\n")
