"""Packs against replicates one at a time: ``python -m tests.benchmarks.bench_packs [cpu | cuda] [quick | figure3]``.

Replicates of a preset (its network, its samples in number, its grid's windows; random data, since only time matters)
are trained for a few epochs with jumps: in stacks of K, and one at a time. The runs alternate. Replicates/s are of the
preset's whole epochs, by extrapolation. The share of peak is that of the operations counted as the leading products of
training, jumps and judging, against the largest rate that one matrix product of 2048 x 2048 reaches on the device. On
CUDA also: how many times as fast stacks are whose steps are replayed as a graph as those whose kernels are launched.
A K that the memory does not hold is left out.

Then the same against as many processes as there are cores (on CUDA: four that share the device), each training one at
a time, which is what Ray Tune with fractional GPUs does; and the memory that a stack takes against what was predicted.
"""

import itertools
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from study.replicates.replicate import Jumps, Recipe, Replicate, Task
from study.training.cuda_graphs import GRAPHS
from study.training.memory import fitting, predict_memory
from study.training.stack import train_stack
from tests.benchmarks._setting import describe_machine, timed

NETWORKS = {"quick": ((20, 40), 300, 160, 40, 400), "figure3": ((40, 200, 1000), 2670, 800, 200, 3000)}
"""Hidden layers, outputs, training samples, test samples, epochs."""
INPUTS = 6


def main(
    device: str | None = None,
    preset: str | None = None,
    stacks: Sequence[int] = (1, 4, 16, 64),
    epochs: int = 40,
    repeats: int = 3,
) -> dict[str, float]:
    """Print the tables; without a device, of every one there is, without a preset, of quick (and figure3 on CUDA).

    Returns:
        Of each network: times as fast as one at a time by K, as kernels launched (CUDA), and as separate processes;
        predicted / actual memory.
    """
    found: dict[str, float] = {}
    devices = [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for where in devices:
        print(describe_machine(where))
        peak = _peak_flops(where)
        for name in [preset] if preset else ["quick", *(["figure3"] if where == "cuda" else [])]:
            print(f"{name}, {where}: {peak / 1e9:.0f} GFLOP/s at best")
            print("   K   replicates/s   of peak   times one at a time" + "   times launched" * (where in GRAPHS))
            fitting_stacks = [count for count in stacks if _fits(where, name, count, epochs)]
            for count in fitting_stacks:
                found |= _measure(where, name, count, epochs, repeats, peak)
            found |= _processes(where, name, max(fitting_stacks), epochs)
            found |= _memory(where, name, max(fitting_stacks), epochs)
    return found


def _fits(device: str, name: str, count: int, epochs: int) -> bool:
    return fitting(_replicates(name, count, epochs), _task(name), torch.device(device)) >= count


def _measure(device: str, name: str, count: int, epochs: int, repeats: int, peak: float) -> dict[str, float]:
    replicates, task = _replicates(name, count, epochs), _task(name)
    where = torch.device(device)
    few = replicates[: min(count, 4)]

    def alone() -> None:
        for replicate in few:
            train_stack([replicate], task, {}, where)

    together_s, alone_s, launched_s = [], [], []
    train_stack(replicates[:1], task, {}, where)  # warms up
    for _ in range(repeats):
        together_s.append(timed(lambda: train_stack(replicates, task, {}, where), device) / count)
        alone_s.append(timed(alone, device) / len(few))
        if device in GRAPHS:
            launched_s.append(timed(lambda: train_stack(replicates, task, {}, where, replays=False), device) / count)
    outcomes = train_stack(replicates, task, {}, where)
    flops = sum(o.flops.training + o.flops.jumps + o.flops.judging for o in outcomes) / count
    each_s, times = statistics.median(together_s), statistics.median(alone_s) / statistics.median(together_s)
    whole_s = each_s * NETWORKS[name][-1] / epochs
    found = {f"{device} {name} K={count}": times}
    if launched_s:
        found[f"{device} {name} K={count} launched"] = statistics.median(launched_s) / each_s
    ratios = "".join(f"{ratio:12.2f}" for ratio in found.values())
    print(f"{count:4d} {1 / whole_s:14.3g} {flops / each_s / peak:9.1%} {ratios}")
    return found


def _processes(device: str, name: str, count: int, epochs: int) -> dict[str, float]:
    """Processes that share the device, each training one at a time, against as many with a stack each."""
    workers = 4 if device == "cuda" else len(os.sched_getaffinity(0))
    if device == "cuda":
        torch.cuda.empty_cache()  # what this process keeps, the others could not have
    separate_s = _side_by_side(device, name, count, epochs, workers, stacked=False)
    stacked_s = _side_by_side(device, name, count, epochs, workers, stacked=True)
    print(
        f"{count} replicates in {workers} processes, one at a time: {separate_s:.2f} s; in a stack: {stacked_s:.2f} s"
    )
    return {f"{device} {name} processes": separate_s / stacked_s}


def _side_by_side(device: str, name: str, count: int, epochs: int, workers: int, stacked: bool) -> float:
    """Seconds until all processes are done, their start left out."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    shares = [list(range(worker, count, workers)) for worker in range(workers)]
    processes = [
        context.Process(target=_work, args=(device, name, count, epochs, share, stacked, barrier)) for share in shares
    ]
    for process in processes:
        process.start()
    barrier.wait()
    start_s = time.perf_counter()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a process of the benchmark has failed")
    return time.perf_counter() - start_s


def _work(
    device: str, name: str, count: int, epochs: int, places: list[int], stacked: bool, barrier: threading.Barrier
) -> None:
    torch.set_num_threads(1)
    replicates, task, where = _replicates(name, count, epochs), _task(name), torch.device(device)
    train_stack([replace(replicates[0], recipe=replace(replicates[0].recipe, epochs=2))], task, {}, where)
    barrier.wait()
    mine = [replicates[place] for place in places]
    for stack in [mine] if stacked else [[own] for own in mine]:
        train_stack(stack, task, {}, where)


def _memory(device: str, name: str, count: int, epochs: int) -> dict[str, float]:
    """Predicted against actual bytes that a stack adds; on the CPU, in a process of its own."""
    _, outputs, samples, test_samples, _ = NETWORKS[name]
    replicates = _replicates(name, count, epochs)
    recorded = device in GRAPHS
    each = (predict_memory(r, INPUTS, outputs, samples, test_samples, recorded=recorded) for r in replicates)
    predicted = sum(memory.total for memory in each)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_reserved()  # a graph's own memory counts as reserved, not as allocated
        train_stack(replicates, _task(name), {}, torch.device(device))
        actual = torch.cuda.max_memory_reserved() - before
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            actual = pool.apply(_peak_rss, (name, count, epochs))
    print(f"memory of {count}: predicted {predicted / 2**20:.0f} MiB, actual {actual / 2**20:.0f} MiB")
    return {f"{device} {name} predicted/actual": predicted / actual}


def _peak_rss(name: str, count: int, epochs: int) -> int:
    replicates, task = _replicates(name, count, epochs), _task(name)
    few = [replace(own, recipe=replace(own.recipe, epochs=2)) for own in replicates[:1]]
    train_stack(few, task, {}, torch.device("cpu"))
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # sets the peak to the present
    before = _resident("VmHWM")
    train_stack(replicates, task, {}, torch.device("cpu"))
    return _resident("VmHWM") - before


def _resident(line: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(each.split()[1]) * 1024 for each in lines if each.startswith(line))


def _peak_flops(device: str) -> float:
    a, b = (torch.randn(2048, 2048, device=device) for _ in range(2))
    product = torch.empty(2048, 2048, device=device)
    seconds = [timed(lambda: torch.mm(a, b, out=product), device) for _ in range(10)]
    return 2 * 2048**3 / min(seconds)


def _replicates(name: str, count: int, epochs: int) -> list[Replicate]:
    """Neighbours of the preset's grid, as the planner puts them together: few windows, all horizons."""
    hidden = NETWORKS[name][0]
    recipe = Recipe(hidden, "softsign", "adam", 1e-4, 0.0, 0.0, epochs, None, "float32")
    cells = itertools.product((14, 17, 20), (2, 5, 10, 20, 40, 60, 100), (1e-3, 1e-4), range(2))
    return [
        Replicate(
            {"m": m, "s": s, "tolerance": tolerance},
            seed,
            "random",
            recipe,
            Jumps("dmd", {"tolerance": tolerance}, m, s),
        )
        for m, s, tolerance, seed in itertools.islice(cells, count)
    ]


def _task(name: str) -> Task:
    _, outputs, samples, test_samples, _ = NETWORKS[name]
    draw = np.random.default_rng(0)
    shapes = [(samples, INPUTS), (samples, outputs), (test_samples, INPUTS), (test_samples, outputs)]
    return Task(*(draw.uniform(-1, 1, shape) for shape in shapes))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:3])
