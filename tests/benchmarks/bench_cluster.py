"""What bounds a sweep on many nodes: ``python -m tests.benchmarks.bench_cluster``.

1. Bytes of data that go to each node, once: the paper's data set in Ray's object store.
2. Bytes that come back for each replicate of the paper's length (3000 epochs, four layers), by window.
3. Milliseconds of processor time to record a replicate (rows and trial, SQLite), in packs of 1 and of 16.
4. Milliseconds of the driver's processor time for each pack of a sweep on Ray, all of it: Tune, callbacks, record.
"""

import dataclasses
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from problems.pollutant import Pollutant
from study import load_spec
from study.planning.cells import replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import create
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Replicate, Task
from study.specification import Spec
from study.training.packs import train_pack
from tests.benchmarks._setting import describe_machine


def main(
    epochs: int = 3000, recorded: int = 64, packs: int = 200, sizes: tuple[int, ...] = (1, 16)
) -> dict[str, float]:
    """Print the numbers; returns them by name, in bytes and milliseconds."""
    print(describe_machine())
    found = {"data_bytes": _data_bytes()}
    print(f"data: {found['data_bytes'] / 1e6:.1f} MB to each node")
    for m in (2, 14):
        found[f"result_bytes m={m}"] = _result_bytes(epochs, m)
        print(f"results: {found[f'result_bytes m={m}'] / 1e3:.0f} kB from each replicate of {epochs} epochs, m = {m}")
    for size in sizes:
        found[f"record_ms pack={size}"] = _record_ms(epochs, recorded, size)
        print(f"record: {found[f'record_ms pack={size}']:.1f} ms for each replicate, in packs of {size}")
    found["driver_ms"] = _driver_ms(packs)
    print(f"driver: {found['driver_ms']:.1f} ms of processor time for each pack of one")
    return found


def _spec(**changes: Any) -> Spec:
    """Training that costs next to nothing, with as many layers and jumps as the paper's."""
    raw: dict[str, Any] = {
        "name": "scaling",
        "problem": {"name": "quadratic"},
        "network": {"hidden": [3, 3, 3]},
        "method": {"name": "dmd", "tolerance": 1e-6},
    }
    return load_spec(raw | changes)


def _data_bytes() -> int:
    sizes = Pollutant().sizes()
    parts = [np.zeros((n, k)) for n in (sizes.train_samples, sizes.test_samples) for k in (sizes.inputs, sizes.outputs)]
    return len(pickle.dumps({"": Task(*parts)}, protocol=5))


def _result_bytes(epochs: int, m: int) -> int:
    spec = _spec(training={"epochs": epochs}, axes={"m": [m], "s": [2]})
    todo = replicates(spec)
    (pack,) = plan(spec, todo)
    return len(pickle.dumps(train_pack(pack, make_tasks(spec, todo), {}), protocol=5))


def _record_ms(epochs: int, count: int, size: int) -> float:
    axes = {"m": [14], "s": {"from": 1, "to": count}}
    spec = _spec(training={"epochs": epochs, "lr": 1e-5}, axes=axes, resources={"pack": size})
    todo = replicates(spec)
    first = plan(spec, todo[:1])[0]
    (outcome,) = train_pack(first, make_tasks(spec, todo[:1]), {})
    with tempfile.TemporaryDirectory() as place:
        record = create(Path(place), spec, None, None)
        record.missing(todo)
        start_s = time.process_time()
        for pack in plan(spec, todo):
            record.add(pack, [_renamed(outcome, replicate) for replicate in pack.replicates], {}, spec)
        return (time.process_time() - start_s) / count * 1e3


def _renamed(outcome: ReplicateOutcome, replicate: Replicate) -> ReplicateOutcome:
    return dataclasses.replace(outcome, replicate=replicate)


_SWEEP = """
import sys, tempfile, time
from pathlib import Path
from study import run
spec = {
    "name": "scaling", "problem": {"name": "quadratic"}, "network": {"hidden": [3, 3, 3]}, "training": {"epochs": 8},
    "method": {"name": "dmd", "tolerance": 1e-6}, "axes": {"m": [4], "s": {"from": 1, "to": int(sys.argv[1])}},
    "resources": {"cpu": 1, "pack": 1},
}
with tempfile.TemporaryDirectory() as place:
    run(spec, Path(place) / "out", timing=False)
print(time.process_time())
"""


def _driver_ms(packs: int) -> float:
    """By the difference of two sweeps: what one costs only to begin is in both."""
    used_s = []
    for count in (packs // 4, packs):
        done = subprocess.run([sys.executable, "-c", _SWEEP, str(count)], capture_output=True, text=True, check=True)
        used_s.append(float(done.stdout.splitlines()[-1]))
    return (used_s[1] - used_s[0]) / (packs - packs // 4) * 1e3


if __name__ == "__main__":
    main()
