"""What jumps add to the time of training: ``python -m tests.benchmarks.bench_overhead [cpu | cuda] [WIDTH]``.

Two copies of the paper's network (6-40-200-1000-2670, hidden layers WIDTH times as wide; 800 samples, full batch, Adam,
s = 55) train in turns: one window of m steps without an accelerator, then one with it, then with it first, and so on.
A window with it includes recording m snapshots, proposing a jump and writing it into the weights; evaluations of the
loss, which a user may or may not ask for, are left out. The jump is taken back off the clock, so that both copies stay
the same, which is checked, and every window trains alike. The data are random, of the size of the pollutant problem's:
only time matters here.

Ratios are medians of pairs of windows; beside them the ratio of the shortest windows, and that of processor time, which
is what to look at where other programs run (with one thread: OMP_NUM_THREADS=1). The optimiser is fused, as in studies.

The promise is 1.03 at m = 8, 14, 20 and 1.05 at m = 2. GB/s: weights read and written as snapshots, snapshots read for
R and for the prediction, and the prediction written, over the time that was added.
"""

import math
import sys
from collections.abc import Sequence
from time import process_time

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


def main(
    device: str | None = None,
    width: int | None = None,
    windows: Sequence[int] = (2, 8, 14, 20),
    hidden: Sequence[int] = HIDDEN,
    steps: int = 280,
) -> list[float]:
    """Print the table; without a device, at the paper's width and at 10 times that, on every device there is.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        width: Times the hidden layers.
        windows: Values of m.
        hidden: Widths of the hidden layers at ``width`` 1.
        steps: Steps to time for each m, with and without; a tenth of it at more than the paper's width.

    Returns:
        The median ratios in the order of the table.
    """
    devices = [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    ratios = []
    for where in devices:
        print(describe_machine(where))
        print("     weights   m   step ms   ratio       quartiles   least processor  ms/jump   GB/s")
        for times in [width] if width else [1, 10]:
            layers = [times * size for size in hidden]
            for m in windows:
                count = steps if times == 1 else steps // 10
                ratios.append(_measure(where, layers, m, max(3, math.ceil(count / m))))
    return ratios


def _measure(device: str, hidden: Sequence[int], m: int, repeats: int) -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, INPUTS, generator=generator).to(device)
    y = torch.rand(SAMPLES, OUTPUTS, generator=generator).to(device)
    networks = [build_network(hidden).to(device) for _ in range(2)]
    optimizers = [torch.optim.Adam(network.parameters(), 1e-4, fused=True) for network in networks]
    accelerator = Accelerator(networks[1], DMD(1e-6), m=m, s=HORIZON)

    def train(which: int) -> None:
        for _ in range(m):
            optimizers[which].zero_grad()
            nn.functional.mse_loss(networks[which](x), y).backward()
            optimizers[which].step()
            if which == 1 and accelerator.record():
                accelerator.apply(accelerator.propose())

    times: tuple[list[float], list[float]] = [], []
    processor_times = [0.0, 0.0]
    for repeat in range(repeats + 1):
        for which in (0, 1) if repeat % 2 else (1, 0):
            before = process_time()
            seconds = timed(lambda which=which: train(which), device)
            if repeat:  # the first windows allocate memory
                times[which].append(seconds)
                processor_times[which] += process_time() - before
            if which == 1:
                accelerator.restore()
                accelerator.clear()
    plain, jumping = networks
    for one, other in zip(plain.parameters(), jumping.parameters(), strict=True):
        if not torch.equal(one, other) or not one.isfinite().all():
            raise AssertionError("with every jump taken back, both copies must stay the same and finite")

    low, ratio, high = quartiles([after / before for before, after in zip(*times, strict=True)])
    weights = sum(parameter.numel() for parameter in plain.parameters())
    step = quartiles(times[0])[1] / m
    added = (ratio - 1) * step * m
    least = min(times[1]) / min(times[0])
    rate = f"{(4 * m + 1) * weights * 4 / added / 1e9:6.1f}" if added > 0 else "     -"
    print(
        f"{weights:12,} {m:3} {step * 1e3:9.2f} {ratio:7.3f} {f'{low:.3f} .. {high:.3f}':>15} {least:7.3f} "
        f"{processor_times[1] / processor_times[0]:9.3f} {added * 1e3:8.1f} {rate}",
        flush=True,
    )
    return ratio


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(argument) for argument in sys.argv[2:3]))
