"""What the benchmarks of `accel` share: the paper's network, windows of its training, clocks, the machine's name."""

import itertools
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from accel import Accelerator, Rule
from problems.pollutant import Pollutant

HIDDEN = (40, 200, 1000)
INPUTS, OUTPUTS, SAMPLES = 6, 2670, 800


def describe_machine(device: str = "cpu") -> str:
    """One line: processor, threads, torch, and the GPU if that is meant."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    gpu = f", {torch.cuda.get_device_name()}" if device == "cuda" else ""
    return f"machine: {name}, {threads}{gpu}"


def build_network(hidden: Sequence[int] = HIDDEN, outputs: int = OUTPUTS, seed: int = 0) -> nn.Sequential:
    """The paper's network (section 4.1): dense, softsign, Xavier weights, zero biases."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [INPUTS, *hidden, outputs]
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out)
        nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Softsign()]
    return nn.Sequential(*layers[:-1])


def record_windows(
    problem: Pollutant, hidden: Sequence[int], lr: float, starts: Sequence[int], m: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Train by Adam, full batch; yield (start, (m, n) last-layer weights after steps start .. start + m - 1)."""
    data = problem.data()
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (data.train_inputs, data.train_targets))
    network = build_network(hidden, y.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr)
    last = [parameter.detach() for parameter in network[-1].parameters()]
    rows: list[NDArray[np.float32]] = []
    for step in range(1, max(starts) + m):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(x), y).backward()
        optimizer.step()
        rows.append(torch.cat([weights.reshape(-1) for weights in last]).numpy())
        rows = rows[-m:]
        if step - m + 1 in starts:
            yield step - m + 1, np.stack(rows)


def watch(rows: NDArray[np.float32], rule: Rule, m: int, **options: Any) -> tuple[Accelerator, nn.Parameter]:
    """An accelerator of one group of weights, and those weights; rows (m, n) hold what they will be."""
    weights = nn.Parameter(torch.from_numpy(rows[0].copy()))
    return Accelerator(nn.ParameterList([weights]), rule, m=m, s=1, **options), weights


def fill(accelerator: Accelerator, weights: nn.Parameter, rows: NDArray[np.float32]) -> None:
    """Begin a new window and record these snapshots, (m, n)."""
    accelerator.clear()
    for row in rows:
        weights.data.copy_(torch.from_numpy(row))
        accelerator.record()


def least_seconds(run: Callable[[], object], repeats: int = 5, prepare: Callable[[], object] = lambda: None) -> float:
    """The shortest of several runs, each prepared off the clock: other programs only ever add to it."""
    seconds = []
    for _ in range(repeats):
        prepare()
        seconds.append(timed(run))
    return min(seconds)


def timed(run: Callable[[], object], device: str = "cpu") -> float:
    """Seconds until the run, and what it started on the device, is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
