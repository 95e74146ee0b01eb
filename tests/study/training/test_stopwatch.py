"""Seconds by what they were spent on."""

import pytest
import torch

from study.training import stopwatch
from study.training.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now_s[0])
    made = Stopwatch(torch.device("cpu"))

    def spend(seconds):
        now_s[0] += seconds

    return made, spend


def test_a_part_within_another_interrupts_it(clock):
    made, spend = clock
    with made("jumps"):
        spend(1.0)
        with made("judging"):
            spend(10.0)
        spend(2.0)
        with made("judging"):
            spend(20.0)
    spend(1000.0)  # counts towards none
    with made("training"):
        spend(100.0)
    with made("recording"):
        spend(0.5)
    assert made.take() == {"training": 100.0, "jumps": 3.0, "judging": 30.0, "recording": 0.5}
    assert made.take() == {"training": 0.0, "jumps": 0.0, "judging": 0.0, "recording": 0.0}


def test_a_part_that_raises_ends(clock):
    made, spend = clock

    def fail():
        with made("jumps"), made("judging"):
            spend(1.0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    spend(5.0)
    assert made.take() == {"training": 0.0, "jumps": 0.0, "judging": 1.0, "recording": 0.0}
