"""What one jump costs, and how right it is: ``python -m tests.benchmarks.bench_jump``.

1. Against PyDMD (``opt=-1``: amplitudes of the newest snapshot) on the same snapshots, the last layer (n = 2.7 million)
   of the paper's network under Adam on the pollutant data, at m = 14, s = 55 and the rank that a tolerance of 1e-6
   keeps; both errors against a float64 singular value decomposition. The promise: at least 20 times as fast. PyDMD is
   timed from the snapshots to the one vector predicted; a jump from the full window to the weights written.
2. Snapshots kept whole, or as low-precision differences: memory, cost and error.
3. Time against n and m, on smooth snapshots.
4. Peak memory, in a process of its own, over two windows: at most m n bytes times the snapshots' size, and 16 MiB for
   blocks and R (`accel` promises m n times the size and O(m²) for each group; blocks are of fixed size).
5. A layer of 1000 nodes of 201 weights each: their operators in one batched jump, and one by one.
"""

import subprocess
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydmd
import torch
from numpy.typing import NDArray
from torch import nn

from accel import DMD, Accelerator
from problems.pollutant import Pollutant
from tests.benchmarks._setting import HIDDEN, describe_machine, fill, least_seconds, record_windows, watch
from tests.benchmarks._textbook import Textbook

BLOCKS = 16 * 2**20
"""Bytes of memory beside the snapshots, whatever m and n."""


def main(
    problem: Pollutant | None = None,
    hidden: Sequence[int] = HIDDEN,
    start: int = 250,
    m: int = 14,
    s: int = 55,
    sizes: Sequence[int] = (10_000, 100_000, 1_000_000, 3_000_000),
    windows: Sequence[int] = (2, 5, 8, 14, 20),
    nodes: int = 1000,
    repeats: int = 5,
) -> dict[str, float]:
    """Print the tables; returns their main numbers by name, in milliseconds, ratios, bytes and parts of the jump."""
    print(describe_machine())
    ((_, rows),) = record_windows(problem or Pollutant(), hidden, 1e-3, [start], m)
    results = _against_pydmd(rows, s, repeats)
    results |= _by_store(rows, s, repeats)
    results |= _by_size(sizes, windows, repeats)
    results |= _memory(max(sizes), m)
    results |= _nodes(nodes, m, repeats)
    return results


def _against_pydmd(rows: NDArray[np.float32], s: int, repeats: int) -> dict[str, float]:
    m, n = rows.shape
    reference = Textbook.of(rows)
    rank = reference.rank(1e-6)
    expected = reference.predict(rank, s)
    length = np.linalg.norm(expected - reference.newest)

    accelerator, weights = watch(rows, DMD(rank=rank), m)
    jump = least_seconds(lambda: _jump(accelerator, s), repeats, lambda: fill(accelerator, weights, rows))
    error = float(np.linalg.norm(weights.detach().double().numpy() - expected) / length)
    print(f"n = {n:,}, m = {m}, s = {s}, rank {rank}")
    print("                      ms    times   error (parts of the jump)")
    print(f"accel           {jump * 1e3:8.1f} {1:8}   {error:.1e}")
    results = {"jump_ms": jump * 1e3, "jump_error": error}
    for dtype in (np.float32, np.float64):
        snapshots = np.ascontiguousarray(rows.T.astype(dtype))
        seconds = least_seconds(lambda snapshots=snapshots: _peer(snapshots, rank, s), min(repeats, 2))
        error = float(np.linalg.norm(_peer(snapshots, rank, s) - expected) / length)
        name = np.dtype(dtype).name
        print(f"PyDMD, {name:8} {seconds * 1e3:8.1f} {seconds / jump:8.1f}   {error:.1e}", flush=True)
        results |= {f"pydmd_{name}_times": seconds / jump, f"pydmd_{name}_error": error}
    return results


def _peer(snapshots: NDArray[Any], rank: int, s: int) -> NDArray[np.float64]:
    with warnings.catch_warnings(action="ignore"):  # the snapshots are nearly parallel, which it tells each time
        fitted = pydmd.DMD(svd_rank=rank, opt=-1).fit(snapshots)
    return np.asarray((fitted.modes @ (fitted.eigs**s * fitted.amplitudes)).real, np.float64)


def _jump(accelerator: Accelerator, s: int) -> None:
    accelerator.apply(accelerator.propose(s))


def _by_store(rows: NDArray[np.float32], s: int, repeats: int) -> dict[str, float]:
    m = len(rows)
    reference = Textbook.of(rows)
    print("\nsnapshots kept as    bytes a weight   ms/snapshot   ms/jump   error at tolerance 1e-3 (parts of the jump)")
    results = {}
    for dtype in (None, torch.float16, torch.bfloat16):
        accelerator, weights = watch(rows, DMD(1e-3), m, snapshot_dtype=dtype)
        record = least_seconds(lambda a=accelerator, w=weights: fill(a, w, rows), repeats) / m
        copy = least_seconds(lambda w=weights: [w.data.copy_(torch.from_numpy(row)) for row in rows], repeats) / m
        jump = least_seconds(
            lambda a=accelerator: _jump(a, s), repeats, lambda a=accelerator, w=weights: fill(a, w, rows)
        )
        expected = reference.predict(reference.rank(1e-3), s)
        length = np.linalg.norm(expected - reference.newest)
        error = float(np.linalg.norm(weights.detach().double().numpy() - expected) / length)
        name = "whole, float32" if dtype is None else f"moves, {str(dtype).removeprefix('torch.')}"
        held = 4 * m if dtype is None else 8 + 2 * (m - 2)
        print(f"{name:20} {held:14} {(record - copy) * 1e3:13.2f} {jump * 1e3:9.1f}   {error:.1e}", flush=True)
        results[f"error {name}"] = error
    return results


def _smooth(n: int, m: int) -> NDArray[np.float32]:
    """(m, n): weights of size 1 that take slowly changing steps of 1e-3, as under Adam."""
    rng = np.random.default_rng(0)
    times = np.arange(m)
    paths = np.stack([times, 5 * 0.9**times, np.cos(times / 4)]) * 1e-3
    return np.asarray(rng.standard_normal(n) + paths.T @ rng.standard_normal((3, n)), np.float32)


def _by_size(sizes: Sequence[int], windows: Sequence[int], repeats: int) -> dict[str, float]:
    print("\nms of one jump\n         n" + "".join(f"{f'm = {m}':>10}" for m in windows))
    results = {}
    for n in sizes:
        print(f"{n:10,}", end="")
        for m in windows:
            rows = _smooth(n, m)
            accelerator, weights = watch(rows, DMD(1e-6), m)
            seconds = least_seconds(
                lambda a=accelerator: _jump(a, 20),
                repeats,
                lambda a=accelerator, w=weights, r=rows: fill(a, w, r),
            )
            print(f"{seconds * 1e3:10.2f}", end="", flush=True)
            results[f"ms n={n} m={m}"] = seconds * 1e3
        print()
    return results


_MEASURED = """
import sys, torch
from accel import DMD, Accelerator
m, n = map(int, sys.argv[1:])
def resident(kind):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(kind))
def train(size):
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(size))])
    accelerator = Accelerator(model, DMD(1e-6), m=m, s=5)
    before = resident("VmRSS")
    for step in range(2 * m):
        model[0].data.mul_(1 + 1e-4 * 0.9 ** (step % m))
        accelerator.step()
    return before
train(1000)  # libraries and their threads
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = train(n)
print(resident("VmHWM") - before)
"""


def _memory(n: int, m: int) -> dict[str, float]:
    command = [sys.executable, "-c", _MEASURED, str(m), str(n)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    bound = 4 * m * n + BLOCKS
    print(f"\npeak memory, n = {n:,}, m = {m}: {peak / 2**20:.0f} MiB of at most {bound / 2**20:.0f} MiB", flush=True)
    return {"peak_bytes": peak, "bound_bytes": bound}


def _nodes(count: int, m: int, repeats: int) -> dict[str, float]:
    layer = nn.Linear(200, count)
    rows = _smooth(201 * count, m).reshape(m, count, 201)
    together = Accelerator(layer, DMD(1e-6), m=m, s=20, group="node")

    def fill_layer() -> None:
        together.clear()
        for row in rows:
            layer.weight.data.copy_(torch.from_numpy(row[:, :200]))
            layer.bias.data.copy_(torch.from_numpy(row[:, 200]))
            together.record()

    alone = [watch(rows[:, node], DMD(1e-6), m)[0:2] for node in range(count)]

    def fill_nodes() -> None:
        for node, (accelerator, weights) in enumerate(alone):
            fill(accelerator, weights, rows[:, node])

    batched = least_seconds(lambda: _jump(together, 20), repeats, fill_layer)
    loop = least_seconds(lambda: [_jump(accelerator, 20) for accelerator, _ in alone], min(repeats, 2), fill_nodes)
    difference = max(
        float((weights[:200] - own).detach().abs().amax())
        for (_, weights), own in zip(alone, layer.weight, strict=True)
    )
    print(
        f"\n{count} nodes of 201 weights, m = {m}: together {batched * 1e3:.1f} ms, one by one {loop * 1e3:.0f} ms, ",
        end="",
    )
    print(f"{loop / batched:.1f} times; largest difference of a weight {difference:.0e}")
    return {"nodes_times": loop / batched, "nodes_difference": difference}


if __name__ == "__main__":
    main()
