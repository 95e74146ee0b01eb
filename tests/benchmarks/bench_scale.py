"""What a large sweep costs beside its trainings: ``python -m tests.benchmarks.bench_scale``.

1. Seconds to plan 10,000 cells: `dmd-study run SPEC --dry-run` in a process of its own.
2. Seconds to look at a record of 10,000 replicates, in a process of its own: open it, decide what is missing, draw its
   heatmap.
3. Milliseconds that a replicate of 0.1 s costs beyond its 0.1 s, 2,000 of them on Ray on 2 CPUs in packs of 16: from
   the first training that begins to the writing of the last rows, the time of one CPU. And what the driver's memory
   grows by.
4. Per cent that trials of a minute cost beyond their minute: 40 replicates that sleep, on a Ray node that is told to
   have 20 CPUs, from each worker's first training to its last; and how long it takes until every worker has begun.

Trainings are sleeps of a rule of the user's own (`tests/faults/slow_rule.py`), so that one processor holds any number
of them, and whatever the processor does is overhead.
"""

import contextlib
import dataclasses
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from study import load_spec
from study.planning.cells import replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import create
from study.training.packs import train_pack
from tests.benchmarks._setting import describe_machine
from tests.faults._nodes import Nodes
from tests.faults._sweep import Sweep

PACK = 16


def main(
    cells: int = 10_000, short: int = 2_000, short_s: float = 0.1, long: int = 40, long_s: float = 60.0, cpus: int = 20
) -> dict[str, float]:
    """Print the numbers; returns them by name."""
    print(describe_machine())
    found = {}
    with tempfile.TemporaryDirectory(prefix="dmds") as place:
        spec = _write_spec(Path(place), cells)
        found["plan_s"] = _timed_s("run", spec, "--dry-run")
        print(f"plan: {found['plan_s']:.2f} s for {cells} cells")
        found |= _inspect_file(spec, Path(place) / "out")
        parts = ", ".join(f"{part} {found[f'{part}_s']:.2f}" for part in ("open", "missing", "heatmap"))
        print(f"record: {found['look_s']:.2f} s in all for {cells} replicates ({parts}, the rest is imports)")
    with tempfile.TemporaryDirectory(prefix="dmds") as place:
        found |= _short(Path(place), short, short_s)
    print(
        f"short: {found['short_ms']:.1f} ms for each of {short} replicates of {short_s:g} s, {found['files']:.0f} files"
    )
    print(f"driver: {found['driver_mb']:.0f} MB at the end, {found['slope_kb']:+.1f} kB for each replicate")
    with tempfile.TemporaryDirectory(prefix="dmds") as place:
        found |= _long(Path(place), long, long_s, cpus)
    print(
        f"long: {found['long_percent']:.2f} % of {long} replicates of {long_s:g} s on {cpus} CPUs; "
        f"{found['long_start_s']:.1f} s to start the workers before"
    )
    return found


def _write_spec(folder: Path, cells: int) -> Path:
    values = round(cells**0.5)
    spec = {
        "name": "scale",
        "problem": {"name": "quadratic"},
        "network": {"hidden": []},
        "training": {"optimizer": "sgd", "lr": 0.1, "epochs": 200},
        "axes": {
            "m": {"from": 2, "to": values + 1},
            "s": {"from": 1, "to": values},
            "tolerance": [1e-6],
        },
        "resources": {"pack": PACK},
    }
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def _timed_s(*arguments: Any) -> float:
    start_s = time.perf_counter()
    subprocess.run([sys.executable, "-m", "study.cli", *map(str, arguments)], check=True, capture_output=True)
    return time.perf_counter() - start_s


_LOOK = """
import sys, time
from study import load_spec, open_study, write_figures
from study.planning.cells import replicates
start_s = time.perf_counter()
record = open_study(sys.argv[2])
opened_s = time.perf_counter()
assert record.missing(replicates(load_spec(sys.argv[1]))) == []
known_s = time.perf_counter()
write_figures(record, only="heatmap")
print(opened_s - start_s, known_s - opened_s, time.perf_counter() - known_s)
"""


def _inspect_file(path: Path, out: Path) -> dict[str, float]:
    """A record of trainings that are all alike but for their names and metrics, opened and drawn."""
    spec = load_spec(path)
    todo = replicates(spec)
    (outcome,) = train_pack(plan(spec, todo[:1])[0], make_tasks(spec, todo[:1]), {})
    record = create(out, spec, None, None)
    record.missing(todo)
    draw = np.random.default_rng(0)
    for pack in plan(spec, todo):
        losses = draw.uniform(0.5, 1.5, len(pack.replicates))
        record.add(
            pack,
            [
                dataclasses.replace(
                    outcome,
                    replicate=each,
                    jumps=dataclasses.replace(outcome.jumps, train_after=outcome.jumps.train_after * loss),
                )
                for each, loss in zip(pack.replicates, losses, strict=True)
            ],
            {},
            spec,
        )
    record.close()
    start_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(path), str(out)], check=True, capture_output=True, text=True
    )
    look_s = time.perf_counter() - start_s
    parts = map(float, done.stdout.split()[-3:])
    return {"look_s": look_s} | dict(zip(("open_s", "missing_s", "heatmap_s"), parts, strict=True))


def _short(folder: Path, count: int, seconds: float) -> dict[str, float]:
    nodes = Nodes(head_cpus=2)
    sweep = Sweep(folder, count, seconds, PACK, nodes.environment, ("--address", nodes.address))
    try:
        sweep.start()
        memory = _Memory(sweep)
        sweep.finish(timeout_s=3600)
    finally:
        sweep.stop()
        nodes.stop()
    assert len(sweep.recorded()) == count
    end_s = max(path.stat().st_mtime for path in (sweep.out / "packs").iterdir())
    begun_s = min(entry.time_s for entry in sweep.entries("begin"))
    files = sum(1 for path in sweep.out.rglob("*") if path.is_file())
    return {
        "short_ms": (2 * (end_s - begun_s) / count - seconds) * 1e3,
        "files": files,
        "driver_mb": memory.last_kb / 1e3,
        "slope_kb": memory.slope_kb(),
    }


class _Memory(threading.Thread):
    """The driver's resident memory against the replicates that have ended, looked at every second."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(daemon=True)
        self._sweep, self._seen, self.last_kb = sweep, [], 0.0
        self.start()

    def run(self) -> None:
        """Look, until the driver ends."""
        process = self._sweep.process
        while process.poll() is None:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have ended just now
                if pages := int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]):
                    self.last_kb = pages * os.sysconf("SC_PAGE_SIZE") / 1e3
                    self._seen.append((len(self._sweep.entries("end")), self.last_kb))
            time.sleep(1.0)

    def slope_kb(self) -> float:
        """For each replicate of the second half of the sweep, where imports are done and pictures not yet begun."""
        half = [seen for seen in self._seen if self._sweep.cells / 2 <= seen[0] < self._sweep.cells]
        if len(half) < 2 or half[0][0] == half[-1][0]:
            return math.nan
        (ended_before, before_kb), (ended, after_kb) = half[0], half[-1]
        return (after_kb - before_kb) / (ended - ended_before)


def _long(folder: Path, count: int, seconds: float, cpus: int) -> dict[str, float]:
    nodes = Nodes(head_cpus=cpus)
    sweep = Sweep(folder, count, seconds, 1, nodes.environment, ("--address", nodes.address))
    try:
        sweep.start()
        sweep.finish(timeout_s=3600)
    finally:
        sweep.stop()
        nodes.stop()
    assert len(sweep.recorded()) == count
    first = {}
    for entry in sweep.entries("begin"):
        first.setdefault(entry.pid, entry.time_s)
    # the time that a CPU waits for its next training, over the sweep from each worker's first training to its last
    ends: dict[int, float] = {}
    for entry in sweep.entries("end"):
        ends[entry.pid] = max(entry.time_s, ends.get(entry.pid, 0.0))
    spent_s = sum(ends[pid] - first[pid] for pid in ends)
    return {
        "long_percent": (spent_s / (count * seconds) - 1) * 100,
        "long_start_s": max(first.values()) - min(first.values()),
    }


if __name__ == "__main__":
    main()
