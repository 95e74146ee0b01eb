"""The faults: what is killed, and what that did to the sweep."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults._nodes import Nodes
from tests.faults._sweep import Entry, Sweep

Make = Callable[[Path, int, float, dict[str, str], str], Sweep]
"""A sweep in a folder, of so many replicates of so many seconds, with this environment, at this Ray address."""


@dataclass
class Result:
    """What a kind of fault did to one sweep.

    injected: times. lost: replicates without a result at the end. trained_twice: trainings that were begun although the
    same had come to its end before. begun_again: trainings cut short and begun anew. recover_s: from each fault to the
    first training that was begun after it; of a worker or node, to the first one of a worker that was started after it.
    """

    kind: str
    injected: int = 0
    lost: int = 0
    trained_twice: int = 0
    begun_again: int = 0
    recover_s: list[float] = field(default_factory=list)

    def close(self, sweep: Sweep) -> "Result":
        """Count what there is to count once the sweep has ended."""
        self.lost = sweep.cells - len(sweep.recorded())
        self.trained_twice = sweep.begun_again_after_end()
        self.begun_again = sweep.begun_again() - self.trained_twice
        return self


def kill_driver(sweep: Sweep, times: int, seed: int, after_each: Callable[[], None] = lambda: None) -> Result:
    """Kill the driver at random moments in a row: while it starts, or while replicates are trained and recorded."""
    draw, result = random.Random(seed), Result("driver killed")
    killed_s = 0.0
    for turn in range(times):
        sweep.start()
        assert sweep.process is not None
        if turn % 2:
            until_s = time.monotonic() + draw.uniform(0, 12)
        else:
            _wait_for_begin(sweep, time.time())
            until_s = time.monotonic() + draw.uniform(0, 3)
        while time.monotonic() < until_s and sweep.process.poll() is None:
            time.sleep(0.01)
        assert sweep.process.poll() is None, "it ended before the last fault: give it more cells"
        result.recover_s += _first_after(sweep, killed_s)
        killed_s = time.time()
        sweep.kill()
        result.injected += 1
        after_each()
    sweep.start()
    sweep.finish()
    result.recover_s += _first_after(sweep, killed_s)
    return result.close(sweep)


def kill_workers(sweep: Sweep, times: int, seed: int) -> Result:
    """Kill the process that trains, in the middle of it, again and again."""
    draw, result = random.Random(seed), Result("worker killed")
    sweep.start()
    for _ in range(times):
        entry = _wait_for_begin(sweep, time.time())
        time.sleep(draw.uniform(0, sweep.seconds * 0.8))
        known, killed_s = _workers(sweep), time.time()
        os.kill(entry.pid, signal.SIGKILL)
        result.injected += 1
        result.recover_s.append(_replaced_s(sweep, known, killed_s))
    sweep.finish()
    return result.close(sweep)


def lose_node(sweep: Sweep, nodes: Nodes, number: int, kind: str) -> Result:
    """Lose one of two nodes in the middle of its packs, and then get another one."""
    kill = {"raylet killed": nodes.kill_raylet, "node removed": nodes.kill}[kind]
    result = Result(kind)
    sweep.start()
    deadline_s = time.monotonic() + 120
    while not _training(sweep, set(nodes.workers(number))):
        assert sweep.process is not None
        assert sweep.process.poll() is None, sweep.process.communicate()[1]
        assert time.monotonic() < deadline_s, "nothing is trained on that node"
        time.sleep(0.1)
    known, killed_s = _workers(sweep), time.time()
    kill(number)
    result.injected = 1
    nodes.add()
    result.recover_s.append(_replaced_s(sweep, known, killed_s))
    sweep.finish()
    return result.close(sweep)


def _wait_for_begin(sweep: Sweep, since_s: float) -> Entry:
    """A training that is begun from now on."""
    deadline_s = time.monotonic() + 120
    while True:
        for entry in reversed(sweep.entries("begin")):
            if entry.time_s >= since_s:
                return entry
        assert sweep.process is not None
        assert sweep.process.poll() is None, f"it ended before the last fault: {sweep.process.communicate()[1]}"
        assert time.monotonic() < deadline_s, "nothing is begun any more"
        time.sleep(0.02)


def _first_after(sweep: Sweep, since_s: float) -> list[float]:
    later = [entry.time_s for entry in sweep.entries("begin") if entry.time_s > since_s] if since_s else []
    return [min(later) - since_s] if later else []


def _workers(sweep: Sweep) -> set[int]:
    return {entry.pid for entry in sweep.entries("begin")}


def _training(sweep: Sweep, pids: set[int]) -> bool:
    """Whether one of these processes has begun a training that has not ended."""
    ended = {(entry.number, entry.pid) for entry in sweep.entries("end")}
    begun = {(entry.number, entry.pid) for entry in sweep.entries("begin")}
    return any(pid in pids for _, pid in begun - ended)


def _replaced_s(sweep: Sweep, known: set[int], since_s: float) -> float:
    deadline_s = time.monotonic() + 120
    while True:
        for entry in sweep.entries("begin"):
            if entry.pid not in known:
                return entry.time_s - since_s
        assert sweep.process is not None
        assert sweep.process.poll() is None, f"it ended without a new worker: {sweep.process.communicate()[1]}"
        assert time.monotonic() < deadline_s, "no new worker has begun anything"
        time.sleep(0.02)
