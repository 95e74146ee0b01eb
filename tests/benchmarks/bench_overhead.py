"""What jumps add to the time of training: ``python -m tests.benchmarks.bench_overhead [cpu | cuda] [WIDTH]``.

Two copies of the paper's network (6-40-200-1000-2670, hidden layers WIDTH times as wide; 800 samples, full batch, Adam,
s = 55) train in turns: one window of m steps without an accelerator, then one with it, then with it first, and so on.
A window with it includes recording m snapshots, proposing a jump and writing it into the weights; evaluations of the
loss, which a user may or may not ask for, are left out. The jump is taken back off the clock, so that both copies stay
the same, which is checked, and every window trains alike. The data are random, of the size of the pollutant problem's:
only time matters here.

Operators are fitted to all weights, and to a sixteenth of each layer's. Ratios are medians of pairs of windows; beside
them the ratio of the shortest windows, and the median of processor time, which is what to look at where other programs
run (with one thread: OMP_NUM_THREADS=1). The optimiser is fused, as in studies. GB/s: weights read and written as
snapshots, snapshots read for the prediction, and the prediction written, over the time that was added.

The goal is 1.02 at m = 8, 14, 20 and 1.03 at m = 2, with a sample.

The last table is that of a small network, quick's, where small operations and Python take most of the time: windows of
`Accelerator.step` in a loop of one's own. The goal is 1.25 at m = 8 and 1.6 at m = 2.
"""

import math
import sys
from collections.abc import Sequence
from time import process_time
from typing import Any

import torch
from torch import nn

from accel import DMD, Accelerator
from tests.benchmarks._setting import (
    HIDDEN,
    INPUTS,
    OUTPUTS,
    SAMPLES,
    build_network,
    describe_machine,
    quartiles,
    timed,
)

HORIZON = 55
SAMPLES_OF_WEIGHTS: tuple[Any, ...] = ("all", 1 / 16)
QUICK: dict[str, Any] = {"hidden": (20, 40), "outputs": 300, "samples": 160, "in_a_loop": True}
"""The network and the training data of the preset quick; jumps are taken, by `Accelerator.step`."""


def main(
    device: str | None = None,
    width: int | None = None,
    windows: Sequence[int] = (2, 8, 14, 20),
    hidden: Sequence[int] = HIDDEN,
    steps: int = 112,
) -> list[float]:
    """Print the table; without a device, at the paper's width and at 10 times that, on every device there is.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        width: Times the hidden layers.
        windows: Values of m.
        hidden: Widths of the hidden layers at ``width`` 1.
        steps: Steps to time for each m, with and without; a tenth of it at more than the paper's width.

    Returns:
        The ratios of processor time in the order of the tables.
    """
    devices = [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    ratios = []
    for where in devices:
        print(describe_machine(where))
        print("     weights   m  sample   step ms   ratio       quartiles   least processor  ms/jump   GB/s")
        for times in [width] if width else [1, 10]:
            layers = [times * size for size in hidden]
            for sample in SAMPLES_OF_WEIGHTS:
                for m in windows:
                    count = steps if times == 1 else steps // 10
                    ratios.append(_measure(where, layers, m, max(3, math.ceil(count / m)), sample))
        if where == "cpu" and len(hidden) > 2:
            print("a small network, in a loop of one's own")
            ratios += [_measure(where, m=m, repeats=max(3, 10 * steps // m), **QUICK) for m in (2, 8)]
    return ratios


def _measure(
    device: str,
    hidden: Sequence[int],
    m: int,
    repeats: int,
    sample: Any = "all",
    outputs: int = OUTPUTS,
    samples: int = SAMPLES,
    *,
    in_a_loop: bool = False,
) -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, INPUTS, generator=generator).to(device)
    y = torch.rand(samples, outputs, generator=generator).to(device)
    networks = [build_network(hidden, outputs).to(device) for _ in range(2)]
    optimizers = [torch.optim.Adam(network.parameters(), 1e-4, fused=True) for network in networks]
    accelerator = Accelerator(networks[1], DMD(1e-6), m=m, s=HORIZON, sample=sample)

    def train(which: int) -> None:
        for _ in range(m):
            optimizers[which].zero_grad()
            nn.functional.mse_loss(networks[which](x), y).backward()
            optimizers[which].step()
            if which == 1 and in_a_loop:
                accelerator.step()
            elif which == 1 and accelerator.record():
                accelerator.apply(accelerator.propose())

    times: tuple[list[float], list[float]] = [], []
    processor_times: tuple[list[float], list[float]] = [], []
    for repeat in range(repeats + 1):
        for which in (0, 1) if repeat % 2 else (1, 0):
            before = process_time()
            seconds = timed(lambda which=which: train(which), device)
            if repeat:  # the first windows allocate memory
                times[which].append(seconds)
                processor_times[which].append(process_time() - before)
            if which == 1 and not in_a_loop:
                accelerator.restore()
                accelerator.clear()
    plain, jumping = networks
    for own, other in zip(plain.parameters(), jumping.parameters(), strict=True):
        if not (in_a_loop or torch.equal(own, other)) or not own.isfinite().all():
            raise AssertionError("with every jump taken back, both copies must stay the same and finite")

    low, ratio, high = quartiles([after / before for before, after in zip(*times, strict=True)])
    weights = sum(parameter.numel() for parameter in plain.parameters())
    step = quartiles(times[0])[1] / m
    added = (ratio - 1) * step * m
    least = min(times[1]) / min(times[0])
    rate = f"{(3 * m + 1) * weights * 4 / added / 1e9:6.1f}" if added > 0 else "     -"
    name = sample if sample == "all" else f"1/{round(1 / sample)}"
    processor = quartiles([after / before for before, after in zip(*processor_times, strict=True)])[1]
    print(
        f"{weights:12,} {m:3} {name:>7} {step * 1e3:9.2f} {ratio:7.3f} {f'{low:.3f} .. {high:.3f}':>15} {least:7.3f} "
        f"{processor:9.3f} {added * 1e3:8.1f} {rate}",
        flush=True,
    )
    return processor


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(argument) for argument in sys.argv[2:3]))
