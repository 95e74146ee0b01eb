"""Measure what samples of the weights change: ``python -m tests.benchmarks.bench_sample``.

The paper's network trains under Adam on the pollutant data, at two rates and from two seeds. After 50, 100 and 150
steps a window of m = 14 snapshots is full: 12 windows. From each, jumps are proposed with operators that are fitted to
all weights and to samples of them, at every s and tolerance of the table; each is judged by the training loss and taken
back. So all samples see the same windows, and their differences are paired.

*Loss ratio*: geometric mean of the loss after the jump over that before it. *Difference*: mean difference of its
logarithm from that with all weights, with a 95 % t-interval over the windows (of each window, the mean over its jumps).
*Distance*: from the prediction with all weights, in parts of that jump. Jumps that multiply the loss by more than 10
with all weights are left out, and counted: nobody would keep them. *ms*: processor time of factors alone.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from time import process_time
from typing import Any

import torch
from scipy import stats
from torch import nn

from accel import DMD, Accelerator
from problems.pollutant import Pollutant
from tests.benchmarks._setting import HIDDEN, build_network, describe_machine

BLOWN_UP = 10.0
"""Loss ratio above which a jump with all weights is left out."""


def main(
    problem: Pollutant | None = None,
    hidden: Sequence[int] = HIDDEN,
    samples: Sequence[Any] = ("all", 1 / 8, 1 / 16, 1 / 64),
    m: int = 14,
    horizons: Sequence[int] = (5, 15, 55),
    tolerances: Sequence[float] = (1e-6, 1e-3),
    rates: Sequence[float] = (1e-3, 1e-2),
    seeds: Sequence[int] = (0, 1),
    starts: Sequence[int] = (50, 100, 150),
) -> dict[Any, tuple[float, float, float]]:
    """Print the table.

    Returns:
        For each sample but all: the mean difference of log loss ratios, and the ends of its interval.
    """
    print(describe_machine())
    data = (problem or Pollutant()).data()
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (data.train_inputs, data.train_targets))
    logs: dict[Any, list[list[float]]] = {sample: [] for sample in samples}
    distances: dict[Any, list[float]] = {sample: [] for sample in samples}
    seconds: dict[Any, list[float]] = {sample: [] for sample in samples}
    jumps = blown_up = 0
    for lr, seed in itertools.product(rates, seeds):
        network = build_network(hidden, y.shape[1], seed)
        optimizer = torch.optim.Adam(network.parameters(), lr, fused=True)
        for step in range(1, max(starts) + m):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(x), y).backward()
            optimizer.step()
            begun = [start for start in starts if start <= step < start + m]
            if not begun:
                continue
            if step == begun[0]:
                watching = {
                    sample: Accelerator(network, DMD(1e-6), m=m, s=1, sample=sample, seed=seed) for sample in samples
                }
            full = [watch.record() for watch in watching.values()]
            if not all(full):
                continue
            for sample, watch in watching.items():
                begin = process_time()
                watch.propose()
                seconds[sample].append(process_time() - begin)
            before = _loss(network, x, y)
            own: dict[Any, list[float]] = {sample: [] for sample in samples}
            for s, tolerance in itertools.product(horizons, tolerances):
                judged = {sample: _judge(network, x, y, watching[sample], s, tolerance) for sample in samples}
                jumps += 1
                if not judged[samples[0]][0] < BLOWN_UP * before:
                    blown_up += 1
                    continue
                with_all, newest = judged[samples[0]][1], _flat(network)
                for sample, (loss, predicted) in judged.items():
                    own[sample].append(math.log(loss / before))
                    distances[sample].append(float((predicted - with_all).norm() / (with_all - newest).norm()))
            if own[samples[0]]:
                for sample in samples:
                    logs[sample].append(own[sample])
    print(f"{len(logs[samples[0]])} windows of m = {m}, {jumps} jumps in all, {blown_up} of them left out")
    print("sample    loss ratio   difference     95 % interval       distance: median, largest    ms")
    return {sample: _line(sample, logs, distances[sample], seconds[sample], samples[0]) for sample in samples}


def _judge(
    network: nn.Module, x: torch.Tensor, y: torch.Tensor, watch: Accelerator, s: int, tolerance: float
) -> tuple[float, torch.Tensor]:
    """Return the loss after a jump, and the weights that it predicts; the jump is taken back."""
    options = watch.options
    watch._stack.options = (type(options)(DMD(tolerance), **_keywords(options)),)
    watch.apply(watch.propose(s))
    loss, predicted = _loss(network, x, y), _flat(network)
    watch.restore()
    return loss, predicted


def _keywords(options: Any) -> dict[str, Any]:
    return {"m": options.m, "s": options.s, "sample": options.sample, "seed": options.seed}


def _loss(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float(nn.functional.mse_loss(network(x), y))


def _flat(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def _line(
    sample: Any, logs: dict[Any, list[list[float]]], distances: list[float], seconds: list[float], whole: Any
) -> tuple[float, float, float]:
    every = [value for window in logs[sample] for value in window]
    paired = [
        statistics.mean(a - b for a, b in zip(own, all_own, strict=True))
        for own, all_own in zip(logs[sample], logs[whole], strict=True)
    ]
    mean = statistics.mean(paired)
    half = 0.0
    if len(paired) > 1:
        error = statistics.stdev(paired) / len(paired) ** 0.5
        half = float(stats.t.ppf(0.975, len(paired) - 1)) * error
    name = sample if isinstance(sample, str) else f"1/{round(1 / sample)}" if sample < 1 else f"{sample}"
    print(
        f"{name:8} {math.exp(statistics.mean(every)):11.4f} {mean:12.5f}   {mean - half:9.5f} .. {mean + half:8.5f}   "
        f"{statistics.median(distances):12.1e} {max(distances):12.1e} {statistics.median(seconds) * 1e3:11.1f}",
        flush=True,
    )
    return mean, mean - half, mean + half


if __name__ == "__main__":
    main()
